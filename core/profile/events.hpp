// What a recording of a few steps holds: calls of operators on the host, and the spans on the GPU that they caused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace conclave::profile {

/// One call of an operator, with the tensors that it was given.
struct Call {
  std::string name;                              ///< "aten::mm", "conclave::rms_norm"
  std::vector<std::vector<std::int64_t>> shapes; ///< of each argument; empty for what is no tensor
  std::vector<std::string> types;                ///< of each argument, as torch calls them: "c10::BFloat16", "float"
};

/// A kernel, copy or fill on the GPU; times in microseconds on one axis.
struct Span {
  std::string kernel;
  double begin = 0, end = 0;
  std::int64_t call = -1; ///< index of the innermost call that launched it; -1: unknown
};

struct Recording {
  std::vector<Call> calls;
  std::vector<Span> spans;
};

} // namespace conclave::profile
