// head_gate.

#include "gate.hpp"

#include "kernels.hpp"

namespace conclave::cuda {
namespace {

HeadGateShape gate_shape(const at::Tensor& x) { return {type_of(x), x.numel() / x.size(-1), x.size(-1)}; }

} // namespace

void Kernels::head_gate(const at::Tensor& x, const at::Tensor& logits, const at::Tensor& y) const {
  CONCLAVE_KERNEL("head_gate", x, logits, y);
  const HeadGateShape shape = gate_shape(x);
  if (shape.rows == 0) return;
  cuda::head_gate(shape, data(x), data(logits), mutable_data(y), current_stream());
  check_launch();
}

void Kernels::head_gate_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& logits,
                                 const at::Tensor& dx, const at::Tensor& dlogits) const {
  CONCLAVE_KERNEL("head_gate_backward", dy, x, logits, dx, dlogits);
  const HeadGateShape shape = gate_shape(x);
  if (shape.rows == 0) return;
  cuda::head_gate_backward(shape, data(dy), data(x), data(logits), mutable_data(dx), mutable_data(dlogits),
                           current_stream());
  check_launch();
}

} // namespace conclave::cuda
