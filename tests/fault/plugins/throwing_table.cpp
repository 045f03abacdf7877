// Its option table throws while it is built.
#include <stdexcept>

#include "fault.hpp"
using namespace conclave;
namespace {
OptionTable broken() { throw std::logic_error("the table is upside down"); }
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/throwing-table"), broken()))
