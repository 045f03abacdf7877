// What the fault plugins share: a scheduler that works, so that each file shows only its own fault.
#pragma once

#include "conclave/scheduler.hpp"

namespace conclave::fault {

struct Options {
  double factor = 1;
};

inline OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("factor", &Options::factor)
      .range(0, 1)
      .doc("Of the peak learning rate.")
      .build();
}

class Constant : public Scheduler {
 public:
  Constant(HostContext&, const Options& options) : factor_(options.factor) {}
  [[nodiscard]] double learning_rate(std::int64_t, const ScheduleExtent& extent) const override {
    return factor_ * extent.peak;
  }

 private:
  double factor_;
};

inline PluginInfo info(const char* id) { return {id, "1.0.0", 1, "A scheduler for tests of the host.", "Apache-2.0"}; }

} // namespace conclave::fault
