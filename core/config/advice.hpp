// Advice for an experiment that is right but unusual: the hints of `conclave check`.
//
// What this is: rules over plain numbers, which the caller takes from the bound experiment and from plugins made in the
// check phase. A number that is not known stays as it is here and its rule says nothing. What this is not: an error.
#pragma once

#include <cstdint>

#include "conclave/value.hpp"
#include "config/experiment.hpp"

namespace conclave {

struct AdviceInput {
  std::int64_t total_steps = 0;
  std::int64_t warmup_steps = -1; ///< Scheduler::warmup_steps; negative: not known, or no such notion
  double peak_learning_rate = 0;  ///< Optimizer::peak_learning_rate
  std::int64_t parameters = 0;    ///< ModelSummary::parameters
  double clip_grad_norm = 0;      ///< 0: gradients are not clipped
};

/// Adds hints, each located where the experiment wrote the value.
void add_advice(const AdviceInput& input, const Experiment& experiment, Diagnostics& diagnostics);

/// Hints for input paths (options that affect the numbers) at which there is nothing on this machine.
void add_path_hints(const Experiment& experiment, Diagnostics& diagnostics);

} // namespace conclave
