// Linear warm-up and cosine decay.

#include "warmup_cosine.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::warmup_cosine {

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("warmup", &Options::warmup)
      .doc("Steps of linear warm-up, as a number or a share of all steps.")
      .opt("min_ratio", &Options::min_ratio)
      .range(0, 1)
      .doc("Learning rate at the end of the run, as a share of the peak.")
      .build();
}

std::int64_t WarmupCosine::warmup_steps(const ScheduleExtent& extent) const {
  return std::min(options_.warmup.resolve(extent.total_steps), extent.total_steps);
}

double WarmupCosine::learning_rate(std::int64_t step, const ScheduleExtent& extent) const {
  const std::int64_t warmup = warmup_steps(extent);
  if (step < warmup) return extent.peak * (static_cast<double>(step + 1) / static_cast<double>(warmup));
  const std::int64_t span = std::max<std::int64_t>(1, extent.total_steps - warmup);
  const double progress = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(span));
  const double shape = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return extent.peak * (options_.min_ratio + (1 - options_.min_ratio) * shape);
}

} // namespace conclave::warmup_cosine

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::warmup_cosine::WarmupCosine, conclave::warmup_cosine::Options>(
    {.id = "scheduler/warmup-cosine",
     .version = "1.0.0",
     .summary = "Linear warm-up, then cosine decay to a share of the peak.",
     .licence = "MIT"},
    conclave::warmup_cosine::option_table()))
