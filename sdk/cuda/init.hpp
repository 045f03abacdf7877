// Launcher of initial values.
#pragma once

#include <array>

#include "launch.hpp"

namespace conclave::cuda {

/// A box of a row-major tensor.
struct BoxOf {
  std::array<std::int64_t, 4> shape, offset, size;
  int axes;
};

struct FillNormal {
  void* out;
  Type type;
  bool fp64; ///< out is fp64, whatever `type` says
  BoxOf local, global;
  std::array<std::uint32_t, 4> stream; ///< RandomStream::state()
  double scale;
};

void fill_normal(const FillNormal& fill, cudaStream_t stream);

} // namespace conclave::cuda
