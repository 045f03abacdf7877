// Sums of squares in fp64, one for each tensor.
//
// Threading: any thread. On the CPU the result does not depend on the number of threads; on a GPU nothing syncs with the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace conclave::train {

/// [n] fp64 on the tensors' device, for n >= 1 contiguous fp32 or fp64 tensors of one device.
at::Tensor square_sums(const std::vector<at::Tensor>& tensors);

/// The elements of a 1-D fp64 tensor added up, as a scalar on its device: on the CPU one after the other, on a GPU by one
/// reduction.
at::Tensor sum_in_order(const at::Tensor& values);

} // namespace conclave::train
