// route: from router logits to the experts of each token, their weights, and the router's losses and counts.
//
// Everything is computed in the type of the logits, which should be fp32 (fp64 in an fp64 run). Ties go to the lower
// expert, but on a GPU only in fp32 with at most 512 experts and 16 choices; padding counts in no loss and no count, but is
// routed like any token (shapes stay static).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace conclave::ops {

enum class RouterScores {
  softmax, ///< over the experts
  sigmoid, ///< of each expert by itself (DeepSeek-V3)
};

/// Over which tokens the load-balance loss compares choices and scores. Padding is in none of them.
enum class BalanceScope {
  sequence,     ///< each sequence by itself (DeepSeek-V3 equations 17-20)
  batch_lagged, ///< the choices of the previous global batch against the scores of this one
  micro_batch,  ///< all tokens of the call (Switch; transformers, Megatron): the loss depends on the call's size
};

struct RouterOptions {
  RouterScores scores = RouterScores::softmax;
  std::int64_t top_k = 2;
  bool normalise_top_k = true; ///< the chosen weights sum to `scaling`
  double scaling = 1;
  bool balance_loss = true, z_loss = true; ///< compute them at all
  BalanceScope balance_scope = BalanceScope::sequence;
};

struct Routing {
  at::Tensor weights; ///< [T, top_k], differentiable
  at::Tensor experts; ///< [T, top_k] int64, distinct in each row, best first
  /// Undefined when not wanted. Scalar, differentiable: E sum_e f_e P_e, which is 1 when balanced; f_e is the share of
  /// choices that fell on e, constant in the gradient, and P_e the mean of e's normalised score. It is given as a sum that
  /// adds over calls:
  ///   sequence: f and P of each sequence, summed over sequences;
  ///   batch_lagged: f of previous_load, P of each token, summed over tokens;
  ///   micro_batch: f and P of the call's tokens, times the number of sequences.
  at::Tensor balance_loss;
  at::Tensor
      z_loss; ///< undefined when not wanted; scalar, differentiable: the sum over tokens of logsumexp(logits)^2 (ST-MoE)
  at::Tensor counts; ///< [E] int64: tokens that chose the expert
};

/// logits [T, E] with T = sequences * S in sequence order; selection_bias [E] or undefined: added to the scores to choose,
/// never to weigh (balancing without a loss); token_mask: T bool elements, or undefined for no padding; previous_load:
/// [E] int64, Routing::counts of the previous global batch, read in the scope batch_lagged only. While it is all 0, before
/// the first batch, it stands for equal shares.
Routing route(const at::Tensor& logits, const at::Tensor& selection_bias, const at::Tensor& token_mask,
              std::int64_t sequences, const RouterOptions& options, const at::Tensor& previous_load = {});

} // namespace conclave::ops
