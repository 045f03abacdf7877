// Its learning rate is not a number from step 3 on.
#include <limits>

#include "fault.hpp"
using namespace conclave;
namespace {
class Nan final : public fault::Constant {
 public:
  using Constant::Constant;
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override {
    return step < 3 ? extent.peak : std::numeric_limits<double>::quiet_NaN();
  }
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<Nan, fault::Options>(fault::info("scheduler/nan"), fault::table()))
