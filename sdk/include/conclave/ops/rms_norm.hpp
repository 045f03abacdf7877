// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich, 2019).
//
// Computed in fp32 (fp64 for fp64) whatever the type of x, and rounded once. Only ATen's kernels, which serve on a GPU where a
// row of x is not of whole 16-byte units or is longer than 32 KiB, take the weight rounded to x's type and round a bf16
// weight's gradient, too.
//
// Threading: as autograd. Shapes that do not fit throw c10::Error: they are the model's bug, not the user's.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// x [..., D]; weight [D] in fp32, or in fp64 for fp64 x -> the shape and type of x.
at::Tensor rms_norm(const at::Tensor& x, const BoundParam& weight, double eps);

struct NormedResidual {
  at::Tensor normed;   ///< rms_norm of x
  at::Tensor residual; ///< x, for the stream that goes past the norm
};
/// For an x that goes into the norm and past it. Whoever uses x itself through `residual` spares autograd a pass over memory: our
/// CUDA kernels add the two gradients where the norm's is made.
NormedResidual rms_norm_residual(const at::Tensor& x, const BoundParam& weight, double eps);

} // namespace conclave::ops
