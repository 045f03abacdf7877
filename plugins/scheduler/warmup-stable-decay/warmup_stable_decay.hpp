// scheduler/warmup-stable-decay: linear warm-up, a long time at the peak, and a short decay at the end (WSD).
//
//   step < warmup:          peak * (step + 1) / warmup
//   step < total - decay:   peak
//   else:                   peak * (m + (1 - m) * f(p)),  p = (step - (total - decay)) / decay,  m = min_ratio
//     linear  f = 1 - p        sqrt  f = 1 - sqrt(p)        cosine  f = (1 + cos(pi * p)) / 2
//
// Past the last step it stays at the end value. Where warm-up and decay overlap, warm-up comes first and the decay is shorter.
#pragma once

#include "conclave/host.hpp"
#include "conclave/options.hpp"
#include "conclave/scheduler.hpp"

namespace conclave::warmup_stable_decay {

enum class Shape { linear, sqrt, cosine };

struct Options {
  StepsOrFraction warmup = StepsOrFraction::of_fraction(0.05);
  StepsOrFraction decay = StepsOrFraction::of_fraction(0.2);
  Shape shape = Shape::sqrt;
  double min_ratio = 0;
};

OptionTable option_table();

class WarmupStableDecay final : public Scheduler {
 public:
  WarmupStableDecay(HostContext&, const Options& options) : options_(options) {}
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override;
  [[nodiscard]] std::int64_t warmup_steps(const ScheduleExtent& extent) const override;

 private:
  Options options_;
};

} // namespace conclave::warmup_stable_decay
