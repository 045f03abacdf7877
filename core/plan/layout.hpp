// Choosing how ranks share the work, for `parallel: auto`.
#pragma once

#include <cstdint>

#include "launch/ranks.hpp"
#include "plan/memory.hpp"

namespace conclave::plan {

/// The layout of that many ranks which splits the model the least and fits into hardware.gpu_memory: experts are split
/// first (they are most of the parameters, and exchange tokens rather than wait for each other), then layers over up to
/// 8 tensor ranks (of one machine), then over a pipeline; all else is data ranks. When none fits, the one that needs
/// the least memory; where gpu_memory is not said, the first that the model and the batch allow. A pure function: every
/// rank that asks gets the same answer.
///
/// No layout at all is Code::unsupported, with the reason of the first that was tried.
Result<ParallelSizes> choose_layout(const Subject& subject, std::int64_t ranks);

} // namespace conclave::plan
