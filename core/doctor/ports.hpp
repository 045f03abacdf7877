// Ports that a run will listen on.
#pragma once

#include <vector>

#include "doctor/check.hpp"

namespace conclave::doctor {

/// `fail` when somebody listens on that port of this machine.
Check check_port(int port);

} // namespace conclave::doctor
