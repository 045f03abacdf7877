// Warm-up, stable phase, decay.

#include "warmup_stable_decay.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::warmup_stable_decay {
namespace {

double decay_shape(Shape shape, double progress) {
  switch (shape) {
    case Shape::linear: return 1 - progress;
    case Shape::sqrt: return 1 - std::sqrt(progress);
    case Shape::cosine: return 0.5 * (1 + std::cos(std::numbers::pi * progress));
  }
  return 1;
}

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("warmup", &Options::warmup)
      .doc("Steps of linear warm-up, as a number or a share of all steps.")
      .opt("decay", &Options::decay)
      .doc("Steps of decay at the end, as a number or a share of all steps.")
      .choice("shape", &Options::shape, {{"linear", Shape::linear}, {"sqrt", Shape::sqrt}, {"cosine", Shape::cosine}})
      .doc("How the rate falls: linear, 1 - sqrt, or half a cosine.")
      .opt("min_ratio", &Options::min_ratio)
      .range(0, 1)
      .doc("Learning rate at the end of the run, as a share of the peak.")
      .validate([](const Options& options, OptionReport& report) {
        if (options.warmup.fraction >= 0 && options.decay.fraction >= 0 &&
            options.warmup.fraction + options.decay.fraction > 1)
          report.error("decay", "warmup and decay take more than all steps", "lower one of the two shares");
      })
      .build();
}

std::int64_t WarmupStableDecay::warmup_steps(const ScheduleExtent& extent) const {
  return std::min(options_.warmup.resolve(extent.total_steps), extent.total_steps);
}

double WarmupStableDecay::learning_rate(std::int64_t step, const ScheduleExtent& extent) const {
  const std::int64_t warmup = warmup_steps(extent);
  if (step < warmup) return extent.peak * (static_cast<double>(step + 1) / static_cast<double>(warmup));
  const std::int64_t start = std::max(warmup, extent.total_steps - options_.decay.resolve(extent.total_steps));
  if (step < start || (start >= extent.total_steps && options_.decay.resolve(extent.total_steps) == 0))
    return extent.peak;
  const std::int64_t span = std::max<std::int64_t>(1, extent.total_steps - start);
  const double progress = std::min(1.0, static_cast<double>(step - start) / static_cast<double>(span));
  return extent.peak * (options_.min_ratio + (1 - options_.min_ratio) * decay_shape(options_.shape, progress));
}

} // namespace conclave::warmup_stable_decay

CONCLAVE_PLUGINS(
    conclave::describe_plugin<conclave::warmup_stable_decay::WarmupStableDecay, conclave::warmup_stable_decay::Options>(
        {.id = "scheduler/warmup-stable-decay",
         .version = "1.0.0",
         .summary = "Linear warm-up, a stable phase at the peak, and a decay at the end.",
         .licence = "MIT"},
        conclave::warmup_stable_decay::option_table()))
