// linear: one product forward, two backward; the weight's goes into the main gradient.

#include "conclave/ops/linear.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "function.hpp"

namespace conclave::ops {
namespace {

struct LinearState {
  GradSink* weight = nullptr;
  GradSink* bias = nullptr;
  bool has_bias = false, has_addend = false;
};

struct Linear : Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& addend,
                            const LinearState& state) {
    context->save_for_backward({x, weight});
    keep(context, state);
    const at::Tensor rows = x.reshape({-1, x.size(-1)});
    at::Tensor y;
    if (addend) {
      y = at::addmm(addend->reshape({-1, weight.size(0)}), rows, weight.t());
      if (bias) y.add_(*bias);
    } else if (bias) {
      y = at::addmm(*bias, rows, weight.t());
    } else {
      y = at::mm(rows, weight.t());
    }
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.back() = weight.size(0);
    return y.view(shape);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const auto& state = kept<LinearState>(context);
    const at::Tensor dy = gradients[0].reshape({-1, weight.size(0)});
    at::Tensor dx, dweight, dbias;
    if (context->needs_input_grad(0)) dx = at::mm(dy, weight).view(x.sizes());
    if (context->needs_input_grad(1)) {
      const at::Tensor rows = x.reshape({-1, x.size(-1)});
      if (state.weight != nullptr) {
        contribute_product(*state.weight, dy, rows);
      } else {
        dweight = at::mm(dy.t(), rows);
      }
    }
    const std::size_t addend_edge = state.has_bias ? 3 : 2;
    if (state.has_bias && context->needs_input_grad(2)) {
      dbias = deliver(state.bias, dy.sum(at::IntArrayRef{0}, false, accumulation_type(dy.scalar_type())));
      if (dbias.defined()) dbias = dbias.to(dy.scalar_type());
    }
    const bool wants_addend = state.has_addend && context->needs_input_grad(addend_edge);
    return {dx, dweight, dbias, wants_addend ? gradients[0] : at::Tensor{}, at::Tensor{}};
  }
};

} // namespace

at::Tensor linear(const at::Tensor& x, const BoundParam& weight, const BoundParam* bias, const at::Tensor& addend) {
  const LinearState state{weight.sink, bias != nullptr ? bias->sink : nullptr, bias != nullptr, addend.defined()};
  return Linear::apply(x, weight.value, optional_input(bias != nullptr ? bias->value : at::Tensor{}),
                       optional_input(addend), state);
}

} // namespace conclave::ops
