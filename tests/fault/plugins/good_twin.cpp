// The same id as good.cpp, from another library.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/good"), fault::table()))
