// A static initialiser that ends the process as if all were well.
#include <cstdlib>

#include "fault.hpp"
using namespace conclave;
namespace {
[[maybe_unused]] const bool ended = (std::_Exit(0), true);
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/exiting-initialiser"),
                                                                  fault::table()))
