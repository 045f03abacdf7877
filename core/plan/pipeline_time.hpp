// A pipeline's schedule played with times.
#pragma once

#include <vector>

#include "train/pipeline_schedule.hpp"

namespace conclave::plan {

/// Seconds of a chunk's passes on one micro-batch, and of the messages that leave it.
struct ChunkSeconds {
  double forward = 0, backward = 0;
  double send_forward = 0, send_backward = 0; ///< to the next chunk, and to the one before
};

struct PlayedRank {
  double end = 0;       ///< when its last action is done, from the start of the step
  double busy = 0;      ///< in its own actions
  double last_pass = 0; ///< of them, backward passes of the last micro-batch, in which gradients become final
};

/// By rank; `chunks` are those of the whole model, in its order. An action of make_pipeline_schedule() starts when its
/// rank is free and its message is there; messages travel beside the computation, as PipelineTransfers has them. Of many
/// micro-batches some are played: a full pipeline takes as long for each as for the one before. A shape that cannot be
/// scheduled is the error of that.
Result<std::vector<PlayedRank>> play_pipeline(const train::PipelineShape& shape,
                                              const std::vector<ChunkSeconds>& chunks);

} // namespace conclave::plan
