// scheduler/constant: one learning rate, after an optional warm-up; or the first part of a chain.
//
//   step < warmup:  ratio * peak * (step + 1) / warmup
//   else:           ratio * peak
//
// With `next`, this schedule lasts `steps` steps; the other one then sees step - steps out of total - steps, so its own
// warm-up and decay shares are of what is left. The pieces of a chain know the same peak.
#pragma once

#include "conclave/host.hpp"
#include "conclave/options.hpp"
#include "conclave/scheduler.hpp"

namespace conclave::constant {

struct Options {
  double ratio = 1;
  StepsOrFraction warmup = StepsOrFraction::of_steps(0);
  StepsOrFraction steps = StepsOrFraction::of_fraction(1);
  Child<Scheduler> next;
};

OptionTable option_table();

class Constant final : public Scheduler {
 public:
  Constant(HostContext&, const Options& options) : options_(options) {}
  /// Refuses a chain whose next schedule would get nothing: only here is it known whether there is one.
  static Result<std::shared_ptr<Constant>> make(HostContext& host, const Options& options);
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override;
  [[nodiscard]] std::int64_t warmup_steps(const ScheduleExtent& extent) const override;

 private:
  Options options_;
};

} // namespace conclave::constant
