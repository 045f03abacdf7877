// adamw: the update of Adam with decoupled weight decay in one pass over memory, for optimizers that run on a GPU.
//
// What this is: a kernel. What this is not: an optimizer; which segments decay, and by how much, its plugin decides.
//
// Threading: the step thread.
#pragma once

#include "conclave/optimizer.hpp"

namespace conclave::ops {

struct AdamWCoefficients {
  double beta1, beta2, eps;
  double weight_decay; ///< of this segment's class
};

/// With g = gradient * gate.gradient_scale and t = scalars.step, in the order of torch.optim.AdamW:
///   master *= 1 - lr weight_decay;  m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2
///   master -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps);  value = master, rounded
/// and nothing at all where gate.apply is 0. states: m, v. The gradient stays as it is.
///
/// False: there is no kernel for this segment (the CPU, fp64, a build without CUDA), and nothing was done.
bool adamw(Segment& segment, const UpdateScalars& scalars, const AdamWCoefficients& coefficients);

} // namespace conclave::ops
