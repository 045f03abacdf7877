// Launchers of products in fp32 by bf16 parts; see ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

/// x [rows, columns], aligned to 16 bytes, columns a multiple of 4; parts: of bf16, beside each other for a left factor, below
/// each other for a right one.
void split_factor(const float* x, std::int64_t rows, std::int64_t columns, bool left, void* parts, cudaStream_t stream);
/// out [rows, columns] = the sum over the middle axis of `in` [rows, 3, columns], added to out when `accumulate`.
void sum_parts(const float* in, std::int64_t rows, std::int64_t columns, float* out, bool accumulate,
               cudaStream_t stream);

} // namespace conclave::cuda
