// wide_linear: on a GPU in bf16 as products of bf16 parts, which tensor cores make and fp32 holds exactly.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>

#include "conclave/ops/linear.hpp"
#include "function.hpp"

namespace conclave::ops {
namespace {

/// bf16 numbers whose sum is x: the first `count` of them, each the rounded rest. Three hold all 24 bits of fp32.
std::vector<at::Tensor> parts_of(const at::Tensor& x, int count) {
  std::vector<at::Tensor> parts;
  at::Tensor rest = x;
  for (int i = 0; i < count; ++i) {
    parts.push_back(rest.to(at::kBFloat16));
    if (i + 1 < count) rest = rest - parts.back().to(at::kFloat);
  }
  return parts;
}

/// Forward: x [T, K] bf16 times three parts of w [N, K]: as exact as fp32. Backward: the weight's gradient likewise, from three
/// parts of the result's; the input's, which is rounded to bf16, from the three products of parts that are larger than
/// 2^-16 of it.
struct SplitProduct : Function<SplitProduct> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, GradSink* sink) {
    const at::Tensor parts = at::cat(parts_of(weight, 3));
    context->save_for_backward({x, parts});
    keep(context, sink);
    return at::mm(x, parts.t(), at::kFloat).view({x.size(0), 3, weight.size(0)}).sum(1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weights = saved[1];
    const std::int64_t columns = gradients[0].size(1);
    const std::vector<at::Tensor> parts = parts_of(gradients[0], 3);
    at::Tensor dx, dweight;
    if (context->needs_input_grad(0))
      dx = at::mm(at::cat({parts[0], parts[0], parts[1]}, 1),
                  at::cat({weights.narrow(0, 0, 2 * columns), weights.narrow(0, 0, columns)}));
    if (context->needs_input_grad(1)) {
      const at::Tensor sums = at::mm(at::cat(parts, 1).t(), x, at::kFloat);
      dweight = deliver(kept<GradSink*>(context), sums.view({3, columns, x.size(1)}).sum(0));
    }
    return {dx, dweight, at::Tensor{}};
  }
};

} // namespace

at::Tensor wide_linear(const at::Tensor& x, const BoundParam& weight) {
  const bool whole = x.dim() == 2 && x.size(1) % 8 == 0 && weight.value.size(0) % 8 == 0; // for tensor cores
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16 && weight.value.scalar_type() == at::kFloat && whole)
    return SplitProduct::apply(x, weight.value, weight.sink);
  return linear(x.to(accumulation_type(x.scalar_type())), weight);
}

} // namespace conclave::ops
