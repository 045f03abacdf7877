// scheduler/warmup-cosine: linear warm-up to the peak, then half a cosine down to a share of it.
//
//   step <  warmup:  peak * (step + 1) / warmup          the first update already moves; the last warm-up step is at the peak
//   step >= warmup:  peak * (m + (1 - m) * (1 + cos(pi * p)) / 2),  p = (step - warmup) / (total - warmup),  m = min_ratio
//
// Past the last step it stays at the end value. The same as PyTorch's LambdaLR warm-up followed by CosineAnnealingLR.
#pragma once

#include "conclave/host.hpp"
#include "conclave/options.hpp"
#include "conclave/scheduler.hpp"

namespace conclave::warmup_cosine {

struct Options {
  StepsOrFraction warmup = StepsOrFraction::of_fraction(0.05);
  double min_ratio = 0;
};

OptionTable option_table();

class WarmupCosine final : public Scheduler {
 public:
  WarmupCosine(HostContext&, const Options& options) : options_(options) {}
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override;
  [[nodiscard]] std::int64_t warmup_steps(const ScheduleExtent& extent) const override;

 private:
  Options options_;
};

} // namespace conclave::warmup_cosine
