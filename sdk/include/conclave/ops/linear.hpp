// linear: y = x w^T, with an optional bias and an optional addend.
//
// The weight's gradient is accumulated in the sink's type (fp32 for bf16 and fp16), straight into the main gradient.
//
// Threading: as autograd. Shapes that do not fit throw c10::Error: they are the model's bug, not the user's.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// x [..., in], weight [out, in] -> [..., out], all of one type. `bias`, when given, is [out]. `addend`, when defined, is
/// [..., out]: the residual stream, added in the same product.
at::Tensor linear(const at::Tensor& x, const BoundParam& weight, const BoundParam* bias = nullptr,
                  const at::Tensor& addend = {});

/// y = x w^T with the result and the weight in the accumulation type, and products of that precision: for routers. x [..., in] of
/// any type, weight [out, in] in the accumulation type. So are the gradients; x's is rounded to its type once. On a GPU a bf16 x is
/// multiplied by tensor cores, exactly; their fp32 sums cut off where others round: some 2^-18 of the largest result for `in` of
/// some thousands.
at::Tensor wide_linear(const at::Tensor& x, const BoundParam& weight);

} // namespace conclave::ops
