// A static initialiser that reads through a null pointer.
#include "fault.hpp"
using namespace conclave;
namespace {
volatile int* volatile nowhere = nullptr;
[[maybe_unused]] const int read = *nowhere;
} // namespace
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/crashing-initialiser"),
                                                                  fault::table()))
