// route: from router logits to the experts of each token, their weights, and the router's losses and counts.
//
// Everything is computed in the type of the logits, which should be fp32 (fp64 in an fp64 run). Ties go to the lower
// expert on CPU; padding counts in no loss and no count, but is routed like any token (shapes stay static).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace conclave::ops {

enum class RouterScores {
  softmax, ///< over the experts
  sigmoid, ///< of each expert by itself (DeepSeek-V3)
};

struct RouterOptions {
  RouterScores scores = RouterScores::softmax;
  std::int64_t top_k = 2;
  bool normalise_top_k = true; ///< the chosen weights sum to `scaling`
  double scaling = 1;
  bool balance_loss = true, z_loss = true; ///< compute them at all
};

struct Routing {
  at::Tensor weights; ///< [T, top_k], differentiable
  at::Tensor experts; ///< [T, top_k] int64, distinct in each row, best first
  /// Undefined when not wanted. Scalar, differentiable: the sum over sequences of E/(K n) sum_e count_e * mean over its n tokens of the normalised
  /// score of e (Switch; DeepSeek-V3 equations 17-20); 1 for each sequence when balanced.
  at::Tensor balance_loss;
  at::Tensor
      z_loss; ///< undefined when not wanted; scalar, differentiable: the sum over tokens of logsumexp(logits)^2 (ST-MoE)
  at::Tensor counts; ///< [E] int64: tokens that chose the expert
};

/// logits [T, E] with T = sequences * S in sequence order; selection_bias [E] or undefined: added to the scores to choose,
/// never to weigh (balancing without a loss); token_mask: T bool elements, or undefined for no padding.
Routing route(const at::Tensor& logits, const at::Tensor& selection_bias, const at::Tensor& token_mask,
              std::int64_t sequences, const RouterOptions& options);

} // namespace conclave::ops
