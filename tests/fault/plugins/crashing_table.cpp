// Its option table reads through a null pointer while it is built.
#include "fault.hpp"
using namespace conclave;
namespace {
double* volatile nowhere = nullptr;
OptionTable crash() {
  OptionTable table = fault::table();
  if (*nowhere > 0) return {};
  return table;
}
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/crashing-table"), crash()))
