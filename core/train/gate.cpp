// Overflow check and clip factor.

#include "train/gate.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace conclave::train {

Gate::Gate(const GateSettings& settings, at::Device device, at::ScalarType type) : settings_(settings) {
  for (at::Tensor* value :
       {&gate_.found_inf, &gate_.norm_squared, &gate_.clip_factor, &gate_.gradient_scale, &gate_.apply})
    *value = at::zeros({}, at::TensorOptions().device(device).dtype(type));
}

void Gate::decide(const at::Tensor& sum_of_squares, const at::Tensor& loss_scale) {
  const at::Tensor scale = loss_scale.to(at::kDouble);
  const at::Tensor norm_squared = sum_of_squares / scale.square();
  const at::Tensor norm = norm_squared.sqrt();
  const at::Tensor finite = at::isfinite(norm_squared);
  at::Tensor clip = at::ones_like(norm);
  if (settings_.clip > 0) clip = at::where(finite, (settings_.clip / (norm + 1e-6)).clamp_max(1.0), clip);
  // The in-place forms keep the addresses that a captured graph or an optimizer holds.
  gate_.norm_squared.copy_(norm_squared);
  gate_.found_inf.copy_(finite.logical_not());
  gate_.clip_factor.copy_(clip);
  gate_.gradient_scale.copy_(clip / scale);
  gate_.apply.copy_(settings_.limit > 0 ? finite.logical_and(norm <= settings_.limit) : finite);
}

} // namespace conclave::train
