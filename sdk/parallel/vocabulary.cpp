// Embedding and loss over a split vocabulary: conclave/ops on the local rows, and collectives around them.

#include "conclave/parallel/vocabulary.hpp"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <stdexcept>

#include "../ops/projected_loss.hpp"
#include "conclave/ops/embedding.hpp"
#include "conclave/parallel/collectives.hpp"

namespace conclave::parallel {

VocabularyRange vocabulary_range(std::int64_t vocabulary, int ranks, int rank) {
  VocabularyRange range;
  range.local = (vocabulary + ranks - 1) / ranks;
  range.first = rank * range.local;
  range.real = std::clamp<std::int64_t>(vocabulary - range.first, 0, range.local);
  return range;
}

at::Tensor embedding(const at::Tensor& tokens, const BoundParam& table, std::int64_t first, Group* group) {
  const std::int64_t width = table.value.size(1);
  if (group == nullptr || group->size() == 1) return ops::embedding(tokens, table).view({-1, width});
  // Tokens of other ranks look up row 0, whose value and gradient are then made zero: shapes do not depend on the tokens.
  const at::Tensor row = tokens - first, elsewhere = row.lt(0).logical_or_(row.ge(table.value.size(0)));
  const at::Tensor found = ops::embedding(row.masked_fill(elsewhere, 0), table).masked_fill(elsewhere.unsqueeze(-1), 0);
  return reduce_scatter_rows(found.view({-1, width}), group);
}

ops::CrossEntropy cross_entropy(const at::Tensor& hidden, const BoundParam& head, std::int64_t first,
                                const at::Tensor& labels, const at::Tensor& loss_mask,
                                const ops::CrossEntropyOptions& options, Group* group) {
  if (group == nullptr || group->size() == 1) return ops::cross_entropy(hidden, head, labels, loss_mask, options);
  if (options.vocabulary <= 0) throw std::invalid_argument("parallel::cross_entropy: options.vocabulary is not given");
  return ops::projected_loss(hidden, head, first, labels, loss_mask, options, group);
}

} // namespace conclave::parallel
