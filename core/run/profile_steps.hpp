// The steps of `conclave profile`: warmed up, timed one kernel at a time and as a CUDA graph, and recorded.
#pragma once

#include <string>

#include "data/loader.hpp"
#include "profile/table.hpp"
#include "run/run_experiment.hpp"
#include "train/step_engine.hpp"

namespace conclave {

struct StepProfile {
  double tokens = 0;        ///< of a step, padding not counted
  double eager_seconds = 0; ///< median of the timed steps
  double graph_seconds = 0; ///< likewise, as a run takes them: CUDA graphs where they can be recorded
  double fullest = 0;       ///< the fullest expert's tokens over the mean, averaged over layers; 0: no experts
  std::string skipped;      ///< why the last step changed nothing; "": it was applied
  profile::Table table;
  profile::Ceilings ceilings;
};

/// For EngineSettings::eager_steps, so that the steps that are timed and recorded run kernel by kernel.
int eager_steps_of_profile(std::int64_t steps);

/// Takes batches from `loader` and changes the engine's parameters.
Result<StepProfile> profile_steps(StepEngine& engine, data::Loader& loader, const Device& device,
                                  const ProfileRequest& request);

/// `flops_per_token`: forward and backward.
std::string render(const StepProfile& profile, const std::string& device, double flops_per_token);
std::string to_json(const StepProfile& profile, const std::string& device, double flops_per_token);

} // namespace conclave
