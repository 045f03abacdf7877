// How plain C++ calls a kernel: launchers take raw pointers, a type and a stream, and no torch header is seen by nvcc.
//
// A launcher returns nothing; a launch that fails shows in cudaGetLastError(), which the binding asks.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace conclave::cuda {

enum class Type { fp32, fp16, bf16 };

/// Multiprocessors of the current device.
int multiprocessors();

} // namespace conclave::cuda
