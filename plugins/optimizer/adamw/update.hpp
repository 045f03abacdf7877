// The AdamW update itself, in forms that give the same result and leave the segment untouched where gate.apply is 0.
//
//   ops::adamw       the SDK's kernel, on a GPU in fp32: one pass that also rounds the values to the compute type
//   update_fused     ATen's fused kernel: one pass over memory on the CPU, one launch on a GPU, no host sync
//   update_composed  a composition of ATen operators, for fp64 on a GPU: there the kernel reads its scalars in fp32
//
// A loop of our own over at::parallel_for was measured on the CPU and was 2 to 6 times slower than the fused kernel, which
// picks the widest vectors that the machine has.
#pragma once

#include "conclave/ops/adamw.hpp"
#include "conclave/optimizer.hpp"

namespace conclave::adamw {

using Coefficients = ops::AdamWCoefficients;

/// Overwrites the gradient with the unscaled one.
void update_fused(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);
void update_composed(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);

} // namespace conclave::adamw
