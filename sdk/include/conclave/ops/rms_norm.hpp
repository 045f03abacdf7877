// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich, 2019).
//
// Statistics and products are computed in fp32 (fp64 for fp64) whatever the type of x. For x in bf16 or fp16 on a GPU the
// weight takes part rounded to x's type, as the weights of a product do; in bf16 its gradient comes rounded once, too.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// x [..., D]; weight [D] in fp32, or in fp64 for fp64 x -> the shape and type of x.
at::Tensor rms_norm(const at::Tensor& x, const BoundParam& weight, double eps);

} // namespace conclave::ops
