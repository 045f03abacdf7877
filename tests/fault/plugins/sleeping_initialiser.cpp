// A static initialiser that waits, as for a slow disk, and is fine afterwards.
#include <unistd.h>

#include "fault.hpp"
using namespace conclave;
namespace {
[[maybe_unused]] const unsigned slept = ::sleep(3);
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/sleeping-initialiser"),
                                                                  fault::table()))
