// A static initialiser that never ends.
#include "fault.hpp"
using namespace conclave;
namespace {
volatile bool forever = true;
[[maybe_unused]] const bool looped = [] {
  while (forever) {
  }
  return true;
}();
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/looping-initialiser"),
                                                                  fault::table()))
