// Built against another SDK, as far as its note says.
#include "fault.hpp"
#undef CONCLAVE_BUILD_SDK_HASH
#define CONCLAVE_BUILD_SDK_HASH "0123456789abcdef"
using namespace conclave;
CONCLAVE_PLUGINS(describe_plugin<fault::Constant, fault::Options>(fault::info("scheduler/wrong-fingerprint"),
                                                                  fault::table()))
