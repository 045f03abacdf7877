// fill_parameter: the initial values of a parameter, as its ParamSpec says.
//
// Every element is a pure function of (seed, global name, index in the unpadded global parameter), so a run starts from
// the same weights under any layout. What this is not: an allocator, or a reader of checkpoints.
//
// Threading: any thread; uses at::parallel_for, and the result does not depend on the thread count.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/param.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// Fills `out`, a floating-point tensor of shape spec.shape on any device. What no piece covers (padding) becomes 0.
/// Values are computed in fp64 and rounded once to out's type; a GPU computes them itself, and its logarithm and sine may
/// differ from the CPU's in the last of 53 bits. A spec whose boxes do not fit its shapes is an error.
Status fill_parameter(const ParamSpec& spec, std::uint64_t seed, const at::Tensor& out);

} // namespace conclave
