// No fault: it prints to standard output wherever it can, also when the process ends, and takes another scheduler.
#include <cstdio>

#include "fault.hpp"
using namespace conclave;
namespace {
struct Talker {
  ~Talker() { std::puts("goodbye"); }
} at_the_end;
struct Options {
  Child<Scheduler> next;
};
class Talkative final : public Scheduler {
 public:
  Talkative(HostContext&, const Options& options) : next_(options.next) { std::puts("hello"); }
  ~Talkative() override { std::puts("{\"outcome\": \"failed\"}"); }
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override {
    return next_ ? next_->learning_rate(step, extent) : extent.peak;
  }

 private:
  Child<Scheduler> next_;
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<Talkative, Options>(
    fault::info("scheduler/talkative"),
    OptionTableBuilder<Options>().plugin("next", &Options::next).doc("Gives the rate.").build()))
