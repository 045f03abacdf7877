// Scheduler: the learning rate as a pure function of the optimizer step.
//
// There is no state: resuming, skipping a step or looking ahead (plots, `plan`) all call the same function.
// Schedulers chain: one may take another as a nested plugin option (Child<Scheduler>).
//
// Threading: const and pure; any thread.
#pragma once

#include <cstdint>

#include "conclave/plugin.hpp"

namespace conclave {

struct ScheduleExtent {
  std::int64_t total_steps = 0; ///< of the run; at least 1
  double peak = 0;              ///< the optimizer's learning rate
};

class Scheduler : public Plugin {
 public:
  static constexpr const char* kind = "scheduler";
  ~Scheduler() override;

  /// The learning rate of optimizer step `step`, 0-based: the first applied update uses step 0. Finite and >= 0 for
  /// every 0 <= step; past total_steps it stays defined.
  [[nodiscard]] virtual double learning_rate(std::int64_t step, const ScheduleExtent& extent) const = 0;
  static constexpr std::int64_t no_warmup = -1;
  /// Steps of warm-up, for the hints of `check`: at least 0 where the schedule has that notion, no_warmup where not.
  [[nodiscard]] virtual std::int64_t warmup_steps(const ScheduleExtent& extent) const {
    (void)extent;
    return no_warmup;
  }
};

} // namespace conclave
