// Launchers of what stands around the experts' products: sorting rows by expert, moving them there and back, SwiGLU.
// See ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

/// Fewest blocks of choices; `counts` of sort_by_expert has sort_blocks() * experts elements.
std::int64_t sort_blocks(std::int64_t pairs);
void sort_by_expert(const std::int64_t* experts, std::int64_t pairs, std::int64_t choices, int expert_count,
                    std::int32_t* counts, std::int64_t* pair, std::int64_t* source, std::int64_t* position,
                    std::int32_t* ends, cudaStream_t stream);

struct RowShape {
  Type type;
  std::int64_t rows, width; ///< rows of whole 16-byte units
};

/// to [rows, width]: row r is row source[r] of `from`.
void gather_rows(const RowShape& shape, const void* from, const std::int64_t* source, void* to, cudaStream_t stream);
/// to [rows, width]: row t is the sum of rows position[t, 0..choices) of `from`, and of row t of `addend` unless it is null.
void sum_choices(const RowShape& shape, const void* from, const std::int64_t* position, std::int64_t choices,
                 const void* addend, void* to, cudaStream_t stream);

/// Row r has weights[pair[r]]; both null: 1.
struct RowWeights {
  const float* weights;
  const std::int64_t* pair;
};
/// Rows of 2 * width numbers, gates first -> rows of `width`.
void swiglu(const RowShape& shape, const void* x, RowWeights in, void* y, cudaStream_t stream);
/// y (the result again) and dweights (in the order of the weights) may be null, the latter is then not wanted.
void swiglu_backward(const RowShape& shape, const void* dy, const void* x, RowWeights in, void* dx, void* y,
                     float* dweights, cudaStream_t stream);

} // namespace conclave::cuda
