// No summary.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>({"scheduler/no-summary", "1.0.0", 1, "", "MIT"},
                                                                  fault::table()))
