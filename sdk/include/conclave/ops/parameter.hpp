// How operators use a BoundParam: as an ordinary autograd variable, or by writing into its gradient sink themselves.
//
// Rule of every operator that takes a BoundParam: when `sink` is null the weight's gradient is returned to autograd;
// otherwise it is written into sink->gradient (added, or written over when sink->overwrite()), sink->ready() is called
// once, and autograd gets an undefined gradient. One call of an operator is one contribution.
//
// Threading: as autograd; a sink receives one contribution at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// The parameter for ordinary differentiable ATen code: an alias of parameter.value whose gradient lands in the sink.
at::Tensor as_variable(const BoundParam& parameter);

/// Writes or adds one finished gradient, of the parameter's shape and any floating type, and calls ready().
void contribute(GradSink& sink, const at::Tensor& gradient);

/// contribute(left^T right) for left [N, M] and right [N, K] without a temporary where the types allow it; products are
/// accumulated in the sink's type.
void contribute_product(GradSink& sink, const at::Tensor& left, const at::Tensor& right);

/// The type that sums, norms and the router are computed in: fp64 for fp64, fp32 for everything else.
inline at::ScalarType accumulation_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

} // namespace conclave::ops
