// Output projection and cross entropy in one operator, a chunk of tokens at a time: no [T, V] tensor is kept.
//
// The gradients of the unscaled sum are computed in the forward pass, while a chunk's logits are at hand, and scaled by
// the seed in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/param.hpp"

namespace conclave::ops {

struct CrossEntropyOptions {
  double label_smoothing = 0;  ///< in [0, 1): this share of the target is spread over the true vocabulary
  double z_loss = 0;           ///< adds z_loss * logsumexp(logits)^2 for each token
  std::int64_t vocabulary = 0; ///< true size; rows of the head beyond it are padding. 0: all rows
};

struct CrossEntropy {
  at::Tensor loss_sum; ///< scalar in the accumulation type, differentiable: the sum over tokens that count
  at::Tensor nll;      ///< [T] in the accumulation type, detached: -log p(label); 0 where masked
};

/// hidden [T, D]; head [V, D]; labels [T] int64 in [0, vocabulary); loss_mask [T] bool.
CrossEntropy cross_entropy(const at::Tensor& hidden, const BoundParam& head, const at::Tensor& labels,
                           const at::Tensor& loss_mask, const CrossEntropyOptions& options);

} // namespace conclave::ops
