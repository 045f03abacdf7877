// Embedding and loss with the vocabulary split over the tensor ranks.
//
// A table [V_local, D] holds the vocabulary's rows [first, first + V_local) of this rank, the same V_local on each; rows
// beyond the true vocabulary are padding. A null group, and one of a single rank, is the operator of conclave/ops.
//
// Threading: as Group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/ops/cross_entropy.hpp"
#include "conclave/parallel/group.hpp"
#include "conclave/param.hpp"

namespace conclave::parallel {

/// How a vocabulary is split: rank r of n holds rows [r * local, (r + 1) * local), local = ceil(vocabulary / n), of which
/// those below `vocabulary` are real.
struct VocabularyRange {
  std::int64_t first = 0; ///< of this rank
  std::int64_t local = 0; ///< rows of the local table
  std::int64_t real = 0;  ///< of them, in the vocabulary; may be 0
};
VocabularyRange vocabulary_range(std::int64_t vocabulary, int ranks, int rank);

/// tokens [B, S] int64, the same on every rank; table [V_local, D] -> own rows [B S / n, D] (parallel/collectives.hpp).
/// Sends one reduce-scatter forward, one all-gather backward.
at::Tensor embedding(const at::Tensor& tokens, const BoundParam& table, std::int64_t first, Group* group);

/// ops::cross_entropy with the head split: hidden [T, D], labels and loss_mask [T], the same on every rank. The results are
/// equal on every rank; the gradient of hidden is partial (gather_rows completes it). Each chunk of tokens all-reduces its
/// maxima, then sums of exponentials, logits (with smoothing) and target logits in one call. options.vocabulary is the true
/// size and must be given.
ops::CrossEntropy cross_entropy(const at::Tensor& hidden, const BoundParam& head, std::int64_t first,
                                const at::Tensor& labels, const at::Tensor& loss_mask,
                                const ops::CrossEntropyOptions& options, Group* group);

} // namespace conclave::parallel
