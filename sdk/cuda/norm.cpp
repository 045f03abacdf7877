// rms_norm.

#include "norm.hpp"

#include <ATen/ops/empty.h>

#include "kernels.hpp"

namespace conclave::cuda {

void Kernels::rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& y,
                       const at::Tensor& scale) const {
  CONCLAVE_KERNEL("rms_norm", x, weight, y, scale);
  const RmsNormShape shape{type_of(x), x.numel() / x.size(-1), x.size(-1)};
  if (shape.rows == 0) return;
  cuda::rms_norm(shape, data(x), floats(weight), static_cast<float>(eps), mutable_data(y), mutable_floats(scale),
                 current_stream());
  check_launch();
}

void Kernels::rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& scale, const at::Tensor& addend, const at::Tensor& dx,
                                const at::Tensor& dweight, bool accumulate) const {
  CONCLAVE_KERNEL("rms_norm_backward", dy, x, weight, scale, addend, dx, dweight);
  const RmsNormShape shape{type_of(x), x.numel() / x.size(-1), x.size(-1)};
  if (shape.rows == 0) {
    if (dweight.defined() && !accumulate) dweight.zero_();
    return;
  }
  at::Tensor partial;
  if (dweight.defined()) partial = at::empty({rms_norm_partial_rows(shape), shape.width}, scale.options());
  cuda::rms_norm_backward(shape, data(dy), data(x), floats(weight), floats(scale), data(addend), mutable_data(dx),
                          mutable_floats(partial), mutable_floats(dweight), accumulate, current_stream());
  check_launch();
}

} // namespace conclave::cuda
