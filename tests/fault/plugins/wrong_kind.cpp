// The id says filter, the class is a scheduler.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("filter/wrong-kind"), fault::table()))
