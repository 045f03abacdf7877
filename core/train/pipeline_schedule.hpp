// PipelineSchedule: what each rank of a pipeline does in a step, and in which order, as data.
//
// A model of `ranks * virtual_stages` chunks lies over the ranks in turns: chunk g of the model is local chunk g / ranks of
// rank g % ranks. Each rank runs its actions in order; an action waits for what it needs from the ranks beside it.
//
//   virtual_stages 1: 1F1B (Narayanan et al. 2021, PipeDream-Flush): rank r starts with ranks - r - 1 forward passes, then one
//                     forward and one backward in turn, so at most ranks - r micro-batches are kept
//   virtual_stages v: interleaved 1F1B (the same paper): micro-batches go round the pipeline in packs of `ranks`, which must
//                     divide their number; the idle share shrinks from (p-1)/m to (p-1)/(v m)
//
// Backward passes of a chunk come in the order of the micro-batches under every schedule, so sums of gradients do not depend
// on it.
//
// What this is: pure functions on small values, checked before a run. What this is not: execution or communication.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::train {

struct PipelineShape {
  int ranks = 1;
  int virtual_stages = 1; ///< chunks of a rank
  int micro_batches = 1;
};

struct PipelineAction {
  enum class Kind : std::uint8_t { forward, backward };
  Kind kind = Kind::forward;
  int chunk = 0; ///< of the rank's own
  int micro_batch = 0;
  friend bool operator==(const PipelineAction&, const PipelineAction&) = default;
};

/// By rank.
using PipelineSchedule = std::vector<std::vector<PipelineAction>>;

/// Interleaved with micro-batches that are no multiple of the ranks, or on one rank, is Code::invalid_argument.
Result<PipelineSchedule> make_pipeline_schedule(const PipelineShape& shape);
/// Forward passes only, for evaluation.
PipelineSchedule make_forward_schedule(const PipelineShape& shape);

/// What one run of a schedule needs, found by playing it with messages that are sent at once and received when needed.
struct PipelineCheck {
  std::vector<int> kept;   ///< by rank: the most forward passes kept for their backward pass at a time
  std::int64_t length = 0; ///< rounds until all are done, each action one round
};

/// Every chunk and micro-batch exactly once forward, then backward (unless `forward_only`), nobody waits for ever. What is
/// wrong is Code::internal and names rank and action.
Result<PipelineCheck> check_pipeline_schedule(const PipelineSchedule& schedule, const PipelineShape& shape,
                                              bool forward_only = false);

std::string to_string(const PipelineAction& action);

} // namespace conclave::train
