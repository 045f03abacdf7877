// Private: the projected cross entropy for a head that holds the whole vocabulary or a rank's part of it.
#pragma once

#include "conclave/ops/cross_entropy.hpp"
#include "conclave/parallel/group.hpp"

namespace conclave::ops {

/// ops::cross_entropy with a null group; parallel::cross_entropy with one, where row i of the head is the id first + i.
CrossEntropy projected_loss(const at::Tensor& hidden, const BoundParam& head, std::int64_t first,
                            const at::Tensor& labels, const at::Tensor& loss_mask, const CrossEntropyOptions& options,
                            Group* group);

} // namespace conclave::ops
