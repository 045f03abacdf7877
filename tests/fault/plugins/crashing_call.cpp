// Crashes when it is called: for the fault handler's last line.
#include <csignal>

#include "fault.hpp"
using namespace conclave;
namespace {
class Crashing final : public fault::Constant {
 public:
  using Constant::Constant;
  [[nodiscard]] double learning_rate(std::int64_t, const ScheduleExtent& extent) const override {
    std::raise(SIGSEGV);
    return extent.peak;
  }
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<Crashing, fault::Options>(fault::info("scheduler/crashing-call"), fault::table()))
