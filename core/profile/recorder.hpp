// Recording what the GPU does, with torch's own profiler (Kineto and CUPTI), and measuring what it can do.
//
// Threading: one thread, the one that runs the steps; autograd's threads are recorded with it.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>

#include "conclave/status.hpp"
#include "profile/events.hpp"
#include "profile/table.hpp"

namespace conclave::profile {

/// Runs `body` and records it; the device has done all of it when this returns. Not empty, `trace` gets a Chrome trace of it.
Result<Recording> record(at::Device device, const std::filesystem::path& trace, const std::function<Status()>& body);

/// The best of a few bf16 products and of a copy of 2 GiB or what memory allows; about a second.
Ceilings measure_ceilings(at::Device device);

} // namespace conclave::profile
