// Dropless expert parallelism: rows travel to the rank that holds their expert and back.
//
// Threading: as Group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/parallel/group.hpp"
#include "conclave/param.hpp"

namespace conclave::parallel {

/// ops::swiglu_experts over ranks: rank r of n holds experts [r E/n, (r+1) E/n) in gate_up [E/n, 2F, D] and
/// down [E/n, D, F]; `experts` are global numbers in [0, E). Every rank brings tokens of its own, any number of them.
///
/// A rank sends each chosen row and its weight once, rows sorted by expert, and gets back rows already weighted, which are
/// summed in the order of a token's choices. One exchange of counts, rows and weights forward, rows back; their adjoints
/// backward. The host reads the counts (one wait a call on a GPU).
///
/// Null group, or one rank: ops::swiglu_experts.
at::Tensor swiglu_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                          const BoundParam& gate_up, const BoundParam& down, const at::Tensor& addend, Group* group);

} // namespace conclave::parallel
