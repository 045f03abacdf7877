// run_experiment(): one run from a loaded experiment to its exit code.
//
// Over many ranks every rank runs this function: they meet first, rank 0 makes the run directory and prepares the data, and
// from the engine on all do the same. Rank 0 writes what is written once.
//
// Order: run directory -> prepare -> device -> plugins -> engine -> resume -> monitors -> steps -> last checkpoint ->
// evaluation -> what to try next. Every way out writes exit.<rank>.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/experiment.hpp"
#include "data/stage.hpp"
#include "launch/device.hpp"
#include "plugin/registry.hpp"

namespace conclave {

/// Instead of a run: a few steps, and what the GPU spent them on. Wants RunRequest::device to be a GPU.
struct ProfileRequest {
  std::int64_t steps = 3;      ///< recorded; as many are timed without recording
  std::filesystem::path trace; ///< Chrome trace of the recorded steps; "" = none
  bool json = false;           ///< the table as JSON
};

struct RunRequest {
  std::filesystem::path run_directory; ///< "" = runs/<name>-<UTC>-<hash>
  bool resume = false;
  std::filesystem::path resume_path; ///< "" = newest good checkpoint of the run directory
  std::int64_t stop_after = 0;       ///< checkpoint after this step and end with 0; 0 = never
  DeviceChoice device = DeviceChoice::automatic;
  bool quiet = false, trace = false, allow_change = false;
  std::int64_t trace_steps = 0;      ///< with `trace`: the first steps of this attempt only; 0 = all
  std::filesystem::path step_record; ///< every rank writes `<this>.<rank>` (step_record.hpp); "" = none
  bool prepare_only = false;
  data::Task task;                       ///< with prepare_only: this process among those that prepare together
  std::optional<ProfileRequest> profile; ///< nothing is saved then
  std::filesystem::path program;         ///< this executable, for the commands named at the end
  std::vector<std::string> overrides;    ///< of --set, likewise
};

/// Returns the exit code; problems have been printed.
int run_experiment(const Experiment& experiment, PluginRegistry& registry, const RunRequest& request);

} // namespace conclave
