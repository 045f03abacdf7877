// One HTTP GET, bounded in time and size.
#pragma once

#include <chrono>
#include <string>

#include "conclave/status.hpp"

namespace conclave::top {

/// The body that `http://host[:port][/path]` answers with 200. The port is 80 and the path /metrics where they are not said. No
/// such answer within `limit` is Code::unsupported, which a name server that is silent may hold up; what is no such URL is Code::invalid_argument.
Result<std::string> http_get(const std::string& url, std::chrono::milliseconds limit);

} // namespace conclave::top
