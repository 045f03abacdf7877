// @ID@: logs the lowest loss so far, as a start. Say here what yours is and is not.

#include <cmath>
#include <limits>

#include "conclave/monitor.hpp"

namespace {

struct Options {
  conclave::Count every = 100;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("every", &Options::every)
      .at_least(1)
      .affects(conclave::Affects::io)
      .doc("Steps between two lines.")
      .build();
}

/// All calls come from the host's observer thread, in order.
class @CLASS@ final : public conclave::Monitor {
 public:
  @CLASS@(conclave::HostContext& host, const Options& options) : host_(host), options_(options) {}

  conclave::Status start(const conclave::RunInfo& run) override {
    host_.log(conclave::LogLevel::info, "watching " + run.name);
    return {};
  }

  conclave::Status step(const conclave::StepReport& report) override {
    const double loss = report.value("loss", std::numeric_limits<double>::quiet_NaN());
    if (std::isfinite(loss) && loss < lowest_) lowest_ = loss;
    if (report.step % options_.every.value == 0)
      host_.log(conclave::LogLevel::info, "step " + std::to_string(report.step) + ": lowest loss " + std::to_string(lowest_));
    return {};
  }

  conclave::Status finish(int exit_code) override {
    host_.log(conclave::LogLevel::info, "lowest loss " + std::to_string(lowest_) + ", exit " + std::to_string(exit_code));
    return {};
  }

 private:
  conclave::HostContext& host_;
  Options options_;
  double lowest_ = std::numeric_limits<double>::infinity();
};

} // namespace

CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "Logs the lowest loss so far.", .licence = "MIT"}, table()))
