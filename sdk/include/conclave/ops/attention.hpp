// Causal attention with grouped key/value heads, an optional local window and optional segments; and the head gate of
// hierarchical attention.
//
// CPU: one tile of queries at a time against the span of keys it can see, so a window costs what it sees. CUDA, in bf16 and fp16:
// cuDNN, which skips what a window hides and, on Hopper and later, what lies between segments; without it flash attention, and a
// dense mask for segments. CUDA in fp32: LibTorch's attention, with a dense mask for windows and segments.
//
// Scores, their softmax and sums are in fp32 (fp64 for fp64); kernels of a GPU round the softmax's result to the inputs' type before
// they weigh the values. With precision.deterministic the backward pass adds in a fixed order, slower; segments then take the dense
// mask.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace conclave::ops {

/// Which keys a query sees: key <= query, query - key < window, equal segment ids. Make it once for each forward pass and
/// window, and use it in every layer.
struct AttentionMask {
  std::int64_t window = 0; ///< keys that a query sees, itself included; 0: all
  at::Tensor segment_ids;  ///< [B, S] int32, or undefined: one segment a sequence
  at::Tensor dense;        ///< [B or 1, 1, S, S] bool for the kernels that need one; else undefined
  at::Tensor spans, slots; ///< where segments lie, for a GPU's kernels that skip what is between them; else undefined
};
/// `like` is any activation [B, S, ...]: its device and type decide what the kernels need. An id that comes back in a row after
/// another one is the same segment on the CPU and in a dense mask, and a new one for the kernels that skip: rows as the host makes
/// them number their segments upwards.
AttentionMask make_attention_mask(const at::Tensor& like, const at::Tensor& segment_ids, std::int64_t window);

/// query [B, S, H, D]; key [B, S, G, D], value [B, S, G, V] with H a multiple of G: query head h reads key head h / (H / G).
/// Scores are scaled by 1 / sqrt(D). -> [B, S, H, V]. V other than D is quick on a GPU alone, where cuDNN takes it (D 192 and V 128 on
/// Hopper). The first call with new shapes on a GPU builds its kernels, which takes the host a moment.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionMask& mask);

/// x [B, S, H, D] * 2 sigmoid(logits [B, S, H]): a zero logit leaves the head as it is.
at::Tensor head_gate(const at::Tensor& x, const at::Tensor& logits);

} // namespace conclave::ops
