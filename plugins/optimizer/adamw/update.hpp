// The AdamW update itself, in two forms that give the same result and leave the segment untouched where gate.apply is 0.
//
//   update_fused     ATen's fused kernel: one pass over memory on the CPU, one launch on a GPU, no host sync
//   update_composed  a composition of ATen operators, for fp64 on a GPU: there the kernel reads its scalars in fp32
//
// A loop of our own over at::parallel_for was measured on the CPU and was 2 to 6 times slower than the fused kernel, which
// picks the widest vectors that the machine has.
#pragma once

#include "conclave/optimizer.hpp"

namespace conclave::adamw {

struct Coefficients {
  double beta1, beta2, eps;
  double weight_decay; ///< of this segment's class
};

/// Overwrites the gradient with the unscaled one.
void update_fused(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);
void update_composed(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);

} // namespace conclave::adamw
