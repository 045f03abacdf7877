// LossScaler: the factor that keeps fp16 gradients representable, grown and backed off on the device.
//
// The rule is PyTorch's GradScaler's: a step with a non-finite gradient multiplies the scale by `backoff` and restarts the
// count; `interval` finite steps in a row multiply it by `growth`, unless that overflows. On top of it `minimum` bounds the
// scale from below. A finite step whose norm is over the limit counts as finite.
//
// Threading: the step thread. Nothing here syncs with the host.
#pragma once

#include <ATen/core/Tensor.h>

#include "train/step_engine.hpp"

namespace conclave::train {

/// What a run begins with: 1 unless dynamic.
double initial_scale(const LossScaleSettings& settings);

class LossScaler {
 public:
  /// `type` is the master type; a dynamic scale needs fp32 masters.
  LossScaler(const LossScaleSettings& settings, at::Device device, at::ScalarType type);

  /// Scalar on the device; 1 unless dynamic.
  [[nodiscard]] const at::Tensor& scale() const noexcept { return scale_; }
  /// int32 scalar: finite steps since the last change.
  [[nodiscard]] const at::Tensor& growth_tracker() const noexcept { return growth_tracker_; }
  /// After a step. `found_inf`: fp32 scalar, 0 or 1.
  void update(const at::Tensor& found_inf);
  void restore(double scale, std::int64_t growth_tracker);

 private:
  LossScaleSettings settings_;
  at::Tensor scale_, growth_tracker_;
};

} // namespace conclave::train
