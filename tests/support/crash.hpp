// How a child that touches bad memory ends: by its signal, or under the address sanitizer with its report.
#pragma once

namespace conclave::support {

#ifdef __SANITIZE_ADDRESS__
constexpr const char* crashed = "exited with 1";
#else
constexpr const char* crashed = "SIGSEGV";
#endif

} // namespace conclave::support
