// Gradient sinks: finished gradients, and products accumulated straight into the main gradient.

#include "conclave/ops/parameter.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "function.hpp"

namespace conclave::ops {
namespace {

struct AsVariable : Function<AsVariable> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& value, GradSink* sink) {
    keep(context, sink);
    return value.view_as(value);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    contribute(*kept<GradSink*>(context), gradients[0]);
    return {at::Tensor{}, at::Tensor{}};
  }
};

} // namespace

at::Tensor as_variable(const BoundParam& parameter) {
  if (parameter.sink == nullptr || !at::GradMode::is_enabled()) return parameter.value;
  return AsVariable::apply(parameter.value, parameter.sink);
}

void contribute(GradSink& sink, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  if (sink.overwrite()) {
    sink.gradient.copy_(gradient);
  } else {
    sink.gradient.add_(gradient);
  }
  sink.ready();
}

void contribute_product(GradSink& sink, const at::Tensor& left, const at::Tensor& right) {
  const at::NoGradGuard no_grad;
  at::Tensor& total = sink.gradient;
  const double keep_old = sink.overwrite() ? 0 : 1; // 0: ATen does not read the old content, even if it is not finite
  if (left.scalar_type() == total.scalar_type()) {
    at::addmm_out(total, total, left.t(), right, keep_old, 1);
  } else if (left.is_cuda()) {
    at::addmm_out(total, total, left.t(), right, total.scalar_type(), keep_old, 1);
  } else {
    at::addmm_out(total, total, left.t().to(total.scalar_type()), right.to(total.scalar_type()), keep_old, 1);
  }
  sink.ready();
}

} // namespace conclave::ops
