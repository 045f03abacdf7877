// Private: rows of tokens sorted by expert, and back; shared by the experts of one rank and of many.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace conclave::ops {

/// Where each (token, choice) pair stands once pairs are sorted by expert, tokens in order within an expert.
struct ExpertRows {
  at::Tensor pair;     ///< [T K] int64: the pair of sorted row r, counted through [T, K]
  at::Tensor source;   ///< [T K] int64: its token
  at::Tensor position; ///< [T, K] int64: the sorted row of each pair
  at::Tensor ends;     ///< [E] int32: end row of each expert
};

/// experts [T, K] int64 in [0, expert_count). No host sync.
ExpertRows sort_by_expert(const at::Tensor& experts, std::int64_t expert_count);

/// Tokens [T, D] to sorted rows [T K, D].
at::Tensor permute(const at::Tensor& x, const ExpertRows& plan);
/// The weights of the pairs in sorted order, [T, K] -> [T K, 1].
at::Tensor sort_weights(const at::Tensor& weights, const ExpertRows& plan);
/// Sorted rows [T K, D] to tokens [T, D]: the sum over a token's choices in their order, accumulated in fp32 and rounded
/// once.
at::Tensor combine(const at::Tensor& rows, const ExpertRows& plan);

} // namespace conclave::ops
