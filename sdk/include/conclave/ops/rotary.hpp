// Rotary position embedding (Su et al., 2021) fused with what stands around it: splitting a joint QKV projection into
// heads, and the optional RMSNorm of each query and key head.
//
// The rotation is a true one: the pair (x_i, x_{i + D/2}) turns by position * theta^(-2 i / D). Pairs are half a head
// apart ("rotate_half"), as in Hugging Face's Llama, Mixtral and Qwen3.
//
// Computed in fp32 (fp64 for fp64), norm and rotation together, and rounded once; but where on a GPU half a head is not of whole
// 16-byte units, or more than 512 bytes, ATen's operators round between the two.
//
// Threading: as autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/param.hpp"

namespace conclave::ops {

/// Cosines and sines for positions [0, length): computed in fp64 and rounded to fp32 (or kept, for fp64).
struct RotaryTable {
  at::Tensor cos, sin; ///< [length, head_width / 2]
};
/// head_width must be even.
RotaryTable make_rotary_table(std::int64_t length, std::int64_t head_width, double theta, at::ScalarType compute,
                              const at::Device& device);

/// RMSNorm of each query head and each key head before the rotation; the weights are [head_width].
struct QkNorm {
  BoundParam query, key;
  double eps = 1e-6;
};

struct Qkv {
  at::Tensor query;      ///< [B, S, heads, head_width]
  at::Tensor key, value; ///< [B, S, kv_heads, head_width]
};

/// qkv [B, S, (heads + 2 kv_heads) * head_width]: queries, then keys, then values. position_ids [B, S] int64 in
/// [0, length of the table): on the CPU another one throws c10::Error, on a GPU it ends the process's work there, as every failed
/// check in a kernel does.
Qkv split_rotary(const at::Tensor& qkv, std::int64_t heads, std::int64_t kv_heads, const at::Tensor& position_ids,
                 const RotaryTable& table, const QkNorm* norm = nullptr);

} // namespace conclave::ops
