// From a recording to the table that `conclave profile` prints.
#pragma once

#include "profile/events.hpp"

namespace conclave::profile {

/// Of one step: numbers of the recording divided by its steps.
struct Row {
  std::string what; ///< the operator, or the kernel's name where no call is known
  double calls = 0, milliseconds = 0;
  double flops = 0, bytes = 0; ///< 0: unknown
};

struct Table {
  std::vector<Row> rows; ///< the longest first
  double busy = 0;       ///< milliseconds in which the GPU did something
  double gaps = 0;       ///< milliseconds between its first and its last moment in which it did nothing
  double kernels = 0;    ///< spans
};

Table summarise(const Recording& recording, std::int64_t steps);

/// What this GPU can do at best, measured.
struct Ceilings {
  double flops = 0; ///< of products, a second
  double bytes = 0; ///< of a copy, read and written, a second
};

/// Rows below `least` of the busy time are summed up in one.
std::string render(const Table& table, const Ceilings& ceilings, double least = 0.002);
std::string to_json(const Table& table, const Ceilings& ceilings);

} // namespace conclave::profile
