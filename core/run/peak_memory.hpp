// The most memory that this rank has used for tensors.
#pragma once

#include <cstdint>

#include "conclave/host.hpp"

namespace conclave {

/// Bytes: on a GPU the peak of what torch's caching allocator gave out there, on the CPU the process's peak resident set.
std::int64_t peak_memory(const Device& device);

} // namespace conclave
