// Gate: decides on the device whether a step's update applies, and how far its gradient is scaled.
//
//   norm         of the unscaled global gradient
//   found_inf    the sum of squares is not finite. fp32 gradients cannot overflow it (their squares fit fp64), so one pass
//                serves both
//   clip_factor  min(1, clip / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it
//   apply        finite and norm <= limit
//
// What this is not: the sum of squares over parameters and ranks (square_sums.hpp, step_sums.hpp). Every rank gets the same
// sum and so decides alike.
//
// Threading: the step thread. Nothing here syncs with the host.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::train {

struct GateSettings {
  double clip = 1;    ///< <= 0: never clip
  double limit = 1e6; ///< <= 0: no limit
};

class Gate {
 public:
  Gate(const GateSettings& settings, at::Device device, at::ScalarType type);

  /// Updates the gate's scalars in place. `sum_of_squares`: fp64 scalar on the device, of gradients that are still multiplied
  /// by `loss_scale`.
  void decide(const at::Tensor& sum_of_squares, const at::Tensor& loss_scale);
  [[nodiscard]] const StepGate& values() const noexcept { return gate_; }

 private:
  GateSettings settings_;
  StepGate gate_;
};

} // namespace conclave::train
