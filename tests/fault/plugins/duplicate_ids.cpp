// One id twice in one library.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/twice"), fault::table()),
                 describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/twice"), fault::table()))
