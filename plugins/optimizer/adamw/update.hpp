// The AdamW update itself, in two forms that give the same result.
//
//   update_cpu     one fused pass over the segment, on ATen's threads
//   update_device  fp32: ATen's fused kernel, one launch a segment and no host sync; fp64: a composition of ATen operators,
//                  since that kernel reads its scalars in fp32
//
// All leave the segment untouched where gate.apply is 0.
#pragma once

#include "conclave/optimizer.hpp"

namespace conclave::adamw {

struct Coefficients {
  double beta1, beta2, eps;
  double weight_decay; ///< of this segment's class
};

void update_cpu(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);
void update_device(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients);

} // namespace conclave::adamw
