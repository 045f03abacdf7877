// A recorded graph's fills and copies as kernels.
#pragma once

#include <cuda_runtime_api.h>

namespace conclave::train {

/// Fills and copies of the GPU's memory in a graph that is not instantiated yet become kernels that write the same. What ours do not
/// take (rows with a pitch, the host's memory, copies of no whole 16-byte units) stays.
cudaError_t replace_fills_and_copies(cudaGraph_t graph);

} // namespace conclave::train
