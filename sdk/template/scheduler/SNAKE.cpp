// @ID@: a constant learning rate, as a start. Say here what yours is and is not.

#include "conclave/scheduler.hpp"

namespace {

struct Options {
  double factor = 1;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("factor", &Options::factor)
      .range(0, 1)
      .doc("Share of the optimizer's peak learning rate that is used.")
      .build();
}

class @CLASS@ final : public conclave::Scheduler {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  /// A pure function of its arguments: the host calls it in any order and from any thread.
  [[nodiscard]] double learning_rate(std::int64_t step, const conclave::ScheduleExtent& extent) const override {
    (void)step;
    return options_.factor * extent.peak;
  }

 private:
  Options options_;
};

} // namespace

CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "A constant learning rate.", .licence = "MIT"}, table()))
