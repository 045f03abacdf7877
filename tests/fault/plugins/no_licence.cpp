// No licence.
#include "fault.hpp"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>({"scheduler/no-licence", "1.0.0", 1, "Something.",
                                                                   ""},
                                                                  fault::table()))
