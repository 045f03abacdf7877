// Products in fp32 by bf16 parts.

#include "split.hpp"

#include "kernels.hpp"

namespace conclave::cuda {

void Kernels::split_factor(const at::Tensor& x, Factor factor, const at::Tensor& parts) const {
  CONCLAVE_KERNEL("split_factor", x, parts);
  TORCH_CHECK(parts.scalar_type() == at::kBFloat16 && parts.numel() == 6 * x.numel(), "six parts in bf16 are needed");
  cuda::split_factor(floats(x), x.size(0), x.size(1), factor == Factor::left, mutable_data(parts), current_stream());
  check_launch();
}

void Kernels::sum_parts(const at::Tensor& in, const at::Tensor& out, bool accumulate) const {
  CONCLAVE_KERNEL("sum_parts", in, out);
  TORCH_CHECK(in.dim() == 3 && in.size(1) == 3 && out.numel() * 3 == in.numel(), "three parts are summed");
  cuda::sum_parts(floats(in), in.size(0), in.size(2), mutable_floats(out), accumulate, current_stream());
  check_launch();
}

} // namespace conclave::cuda
