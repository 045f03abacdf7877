// Launchers of split_rotary; see ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct RotaryShape {
  Type type;
  std::int64_t tokens, heads, kv_heads, head_width; ///< half a head: 1 to 32 whole 16-byte units
  std::int64_t length;                              ///< of the table
};

struct RotaryInputs {
  const void* qkv; ///< [tokens, heads + 2 kv_heads, head_width]; backward: null without a norm
  const std::int64_t* positions;
  const float *cos, *sin;
  const float *query_weight, *key_weight; ///< null: no norm
  float eps;
};

void split_rotary(const RotaryShape& shape, const RotaryInputs& in, void* query, void* key, void* value,
                  cudaStream_t stream);

/// Rows of each of the two `partial` [n, head_width] that split_rotary_backward wants when there is a norm.
std::int64_t split_rotary_partial_rows(const RotaryShape& shape);
/// Leaves the weights' gradients as partial sums, for sum_rows.
void split_rotary_backward(const RotaryShape& shape, const RotaryInputs& in, const void* dquery, const void* dkey,
                           const void* dvalue, void* dqkv, float* query_partial, float* key_partial,
                           cudaStream_t stream);

} // namespace conclave::cuda
