// Dynamic loss scaling.

#include "train/precision.hpp"

#include <ATen/ops/_amp_update_scale.h>
#include <ATen/ops/full.h>

namespace conclave::train {

double initial_scale(const LossScaleSettings& settings) { return settings.dynamic ? settings.initial : 1.0; }

LossScaler::LossScaler(const LossScaleSettings& settings, at::Device device, at::ScalarType type)
    : settings_(settings),
      scale_(at::full({}, initial_scale(settings), at::TensorOptions().device(device).dtype(type))),
      growth_tracker_(at::full({}, 0, at::TensorOptions().device(device).dtype(at::kInt))) {}

void LossScaler::update(const at::Tensor& found_inf) {
  if (!settings_.dynamic) return;
  at::_amp_update_scale_(scale_, growth_tracker_, found_inf, settings_.growth, settings_.backoff, settings_.interval);
  scale_.clamp_min_(settings_.minimum);
}

void LossScaler::restore(double scale, std::int64_t growth_tracker) {
  scale_.fill_(scale);
  growth_tracker_.fill_(growth_tracker);
}

} // namespace conclave::train
