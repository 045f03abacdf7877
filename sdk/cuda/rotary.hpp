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

/// Blocks of split_rotary_backward that work on queries, keys and values.
struct RotaryBlocks {
  std::int64_t queries, keys, values;
};
RotaryBlocks rotary_backward_blocks(const RotaryShape& shape, bool normed);
/// With a norm, leaves the weights' gradients as partial sums, for sum_rows: query_partial [blocks.queries, head_width],
/// key_partial [blocks.keys, head_width].
void split_rotary_backward(const RotaryShape& shape, const RotaryInputs& in, const RotaryBlocks& blocks,
                           const void* dquery, const void* dkey, const void* dvalue, void* dqkv, float* query_partial,
                           float* key_partial, cudaStream_t stream);

} // namespace conclave::cuda
