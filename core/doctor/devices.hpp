// Copies within each GPU and from each to the next, timed.
#pragma once

#include <optional>
#include <vector>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"

namespace conclave::doctor {

struct DeviceFacts {
  std::optional<Error> error;
  std::vector<double> copy; ///< by visible GPU: bytes read and written a second
  std::vector<double> peer; ///< from each GPU to the next, the last to the first: bytes a second; empty with one GPU
  bool damaged = false;     ///< other bytes came out of a copy
};

/// Opens CUDA in this process and takes up to 1 GB of each GPU, for a second or two.
DeviceFacts read_devices();
Checks judge_devices(const DeviceFacts& facts, const Expectation& expected);

} // namespace conclave::doctor
