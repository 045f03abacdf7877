// A constant rate, and the hand-over to the next schedule of a chain.

#include "constant.hpp"

#include <algorithm>

namespace conclave::constant {

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("ratio", &Options::ratio)
      .range(0, 1)
      .doc("Learning rate as a share of the peak.")
      .opt("warmup", &Options::warmup)
      .doc("Steps of linear warm-up, as a number or a share of all steps.")
      .opt("steps", &Options::steps)
      .doc("How long it lasts when `next` follows, as a number or a share of all steps; `next` needs less than all.")
      .plugin("next", &Options::next)
      .doc("Scheduler of the remaining steps.")
      .build();
}

Result<std::shared_ptr<Constant>> Constant::make(HostContext& host, const Options& options) {
  if (options.next && options.steps.fraction >= 1)
    return invalid("`steps` is all of the run, which leaves nothing to `next`",
                   "give the steps of this part, e.g. steps: 1k or steps: 10%");
  return std::make_shared<Constant>(host, options);
}

std::int64_t Constant::warmup_steps(const ScheduleExtent& extent) const {
  return std::min(options_.warmup.resolve(extent.total_steps), extent.total_steps);
}

double Constant::learning_rate(std::int64_t step, const ScheduleExtent& extent) const {
  if (options_.next) {
    const std::int64_t mine = std::min(options_.steps.resolve(extent.total_steps), extent.total_steps - 1);
    if (step >= mine) return options_.next->learning_rate(step - mine, {extent.total_steps - mine, extent.peak});
  }
  const std::int64_t warmup = warmup_steps(extent);
  const double rate = options_.ratio * extent.peak;
  return step < warmup ? rate * (static_cast<double>(step + 1) / static_cast<double>(warmup)) : rate;
}

} // namespace conclave::constant

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::constant::Constant, conclave::constant::Options>(
    {.id = "scheduler/constant",
     .version = "1.0.0",
     .summary = "A constant learning rate after an optional warm-up; may hand over to another schedule.",
     .licence = "MIT"},
    conclave::constant::option_table()))
