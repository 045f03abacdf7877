// No fault: the one that must stay usable beside all others.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/good"), fault::table()))
