// wide_linear: on a GPU in bf16 as products of bf16 parts, which tensor cores make and fp32 holds exactly.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <cstdint>

#include "conclave/ops/linear.hpp"
#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

/// x [T, K] bf16, weight [N, K]. Three bf16 parts hold fp32's 24 bits, so every product of the forward pass and of the weight's
/// gradient is exact; but tensor cores cut their fp32 sums off where others round, so long sums are less precise than fp32's own.
/// x's gradient, of two factors in parts, leaves out products below 2^-26 of the factors'.
struct SplitProduct : Function<SplitProduct> {
  using Factor = GpuKernels::Factor;

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, GradSink* sink) {
    const std::int64_t tokens = x.size(0), columns = weight.size(0), width = x.size(1);
    const at::Tensor right = at::empty({6, columns, width}, x.options());
    gpu_kernels()->split_factor(weight, Factor::right, right);
    context->save_for_backward({x, right});
    keep(context, sink);
    const at::Tensor parts = at::mm(x, right.narrow(0, 0, 3).view({3 * columns, width}).t(), at::kFloat);
    at::Tensor y = at::empty({tokens, columns}, weight.options());
    gpu_kernels()->sum_parts(parts.view({tokens, 3, columns}), y, false);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &right = saved[1], dy = gradients[0].contiguous();
    const std::int64_t tokens = dy.size(0), columns = dy.size(1), width = x.size(1);
    at::Tensor left = at::empty({tokens, 6, columns}, x.options());
    gpu_kernels()->split_factor(dy, Factor::left, left);
    left = left.view({tokens, 6 * columns});
    at::Tensor dx, dweight;
    if (context->needs_input_grad(0)) dx = at::mm(left, right.view({6 * columns, width}));
    if (!context->needs_input_grad(1)) return {dx, dweight, at::Tensor{}};
    GradSink* const sink = kept<GradSink*>(context);
    const at::Tensor parts = at::mm(left.narrow(1, 0, 3 * columns).t(), x, at::kFloat);
    const at::Tensor total = sink != nullptr ? sink->gradient : at::empty({columns, width}, dy.options());
    gpu_kernels()->sum_parts(parts.view({1, 3, columns * width}), total, sink != nullptr && !sink->overwrite());
    if (sink == nullptr) return {dx, total, at::Tensor{}};
    sink->ready();
    return {dx, at::Tensor{}, at::Tensor{}};
  }
};

/// Tensor cores want rows of whole 16-byte units, and the split a weight that begins with one.
bool has_split_product(const at::Tensor& x, const at::Tensor& weight) {
  const auto aligned = [](const at::Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.data_ptr()) % 16 == 0; };
  return x.is_cuda() && x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kFloat && x.numel() > 0 &&
         x.size(-1) % 8 == 0 && weight.size(0) % 8 == 0 && weight.is_contiguous() && aligned(weight) &&
         gpu_kernels() != nullptr;
}

} // namespace

at::Tensor wide_linear(const at::Tensor& x, const BoundParam& weight) {
  if (!has_split_product(x, weight.value)) return linear(x.to(accumulation_type(x.scalar_type())), weight);
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() = weight.value.size(0);
  return SplitProduct::apply(x.reshape({-1, x.size(-1)}), weight.value, weight.sink).view(shape);
}

} // namespace conclave::ops
