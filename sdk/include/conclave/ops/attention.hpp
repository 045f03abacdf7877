// Causal attention with grouped key/value heads, an optional local window and optional segments; and the head gate of
// hierarchical attention.
//
// CPU: one tile of queries at a time against the span of keys it can see, so a window costs what it sees. CUDA: flash or
// cuDNN kernels where no mask is needed (also for windows in bf16 and fp16); segments take a dense mask, made once.
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
};
/// `like` is any activation [B, S, ...]: its device and type decide whether a dense mask is needed.
AttentionMask make_attention_mask(const at::Tensor& like, const at::Tensor& segment_ids, std::int64_t window);

/// query [B, S, H, D]; key, value [B, S, G, D] with H a multiple of G: query head h reads key head h / (H / G).
/// Scores are scaled by 1 / sqrt(D). -> [B, S, H, D].
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionMask& mask);

/// x [B, S, H, D] * 2 sigmoid(logits [B, S, H]): a zero logit leaves the head as it is.
at::Tensor head_gate(const at::Tensor& x, const at::Tensor& logits);

} // namespace conclave::ops
