// Gate: decides on the device whether a step's update applies, and how far its gradient is scaled.
//
//   norm         of the unscaled global gradient: per-parameter sums of squares in fp64; on the CPU added in name order, on
//                a GPU by one reduction of the vector that has them in name order
//   found_inf    that sum is not finite. fp32 gradients cannot overflow it (their squares fit fp64), so one pass serves both
//   clip_factor  min(1, clip / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it
//   apply        finite and norm <= limit
//
// Each parameter counts once (`norm_owner`). Threading: the step thread. Nothing here syncs with the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "conclave/param.hpp"

namespace conclave::train {

struct GateSettings {
  double clip = 1;    ///< <= 0: never clip
  double limit = 1e6; ///< <= 0: no limit
};

class Gate {
 public:
  /// `gradients` in name order, those of norm owners only; fp32 or fp64, contiguous, on `device`.
  Gate(const GateSettings& settings, std::vector<at::Tensor> gradients, at::Device device, at::ScalarType type);

  /// Updates the gate's scalars in place from the gradients, which are still multiplied by `loss_scale`.
  void decide(const at::Tensor& loss_scale);
  [[nodiscard]] const StepGate& values() const noexcept { return gate_; }

 private:
  GateSettings settings_;
  std::vector<at::Tensor> gradients_;
  StepGate gate_;
};

/// Sum of the squares of all tensors (at least one, all of one device) as an fp64 scalar there: each tensor's sum, then their
/// sum, as said above. On the CPU the result does not depend on the number of threads.
at::Tensor sum_of_squares(const std::vector<at::Tensor>& tensors);

} // namespace conclave::train
