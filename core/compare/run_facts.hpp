// RunFacts: what a run directory says of a run beside its curves: what was asked for, on what, and how it ended.
//
// A directory may be half written, damaged, of an older version or still growing. Reading never fails for that: what is
// missing stays empty and `marks` says so in a sentence, for whoever reads the comparison.
//
// Threading: functions without state; nothing is locked or changed in the directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "config/experiment.hpp"

namespace conclave::compare {

enum class RunState {
  finished, ///< all steps, exit 0
  stopped,  ///< exit 0 before the last step, 75 or 76: it waits to go on
  running,  ///< another process holds it, here or, by the age of its files, on another machine
  failed,   ///< another exit code
  crashed,  ///< no exit was written and nobody holds it
};
const char* to_string(RunState state) noexcept;

struct RunFacts {
  std::filesystem::path path; ///< as it was found
  std::string name;           ///< the member of a sweep, else the folder's name
  std::string sweep;          ///< "" outside of one
  RunState state = RunState::crashed;
  std::string end; ///< the exit's reason, for a run that did not finish
  std::int64_t end_step = 0;
  std::int64_t attempts = 0;
  std::string config_hash;
  std::string seed; ///< as the settings have it
  /// Dotted key to value, origin and what it affects. Of a run older than the settings in record.json: from
  /// resolved.yaml, with affects filled in by complete_affects().
  std::map<std::string, Experiment::Setting> settings;
  bool affects_known = true;
  /// Host, device, versions, plugins: what may differ although no setting does.
  std::map<std::string, std::string> environment;
  std::int64_t parameters = 0, active_parameters = 0; ///< 0: not said
  double flops_per_token = 0;                         ///< forward and backward; 0: not said
  std::string data_order, data_store;                 ///< digests; "": not said
  std::int64_t peak_memory = 0;                       ///< bytes of rank 0; 0: not said
  std::vector<std::string> marks;                     ///< a sentence each
};

/// Of a directory without anything of a run: an error (Code::invalid_argument).
Result<RunFacts> read_facts(const std::filesystem::path& directory);

/// What older runs' settings affect, as the other runs say of the same keys; numerics where nobody knows.
void complete_affects(std::vector<RunFacts*> runs);

/// How many steps the experiment asks for; 0 when the settings do not say.
std::int64_t total_steps(const RunFacts& facts);

} // namespace conclave::compare
