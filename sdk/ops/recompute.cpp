// recompute: an autograd function whose backward pass runs the forward pass again and differentiates that.

#include "conclave/ops/recompute.hpp"

#include <torch/csrc/autograd/autograd.h>

#include "function.hpp"

namespace conclave::ops {
namespace {

struct Recompute : Function<Recompute> {
  static variable_list forward(AutogradContext* context, const at::Tensor& input, const RecomputedPart& part) {
    context->save_for_backward({input});
    context->set_materialize_grads(false);
    keep(context, part);
    const at::NoGradGuard no_grad;
    return part(input, false);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor input = context->get_saved_variables()[0].detach().requires_grad_();
    variable_list outputs;
    {
      const at::AutoGradMode grad(true);
      outputs = kept<RecomputedPart>(context)(input, true);
    }
    variable_list roots, seeds;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      seeds.push_back(gradients[i]);
    }
    torch::autograd::backward(roots, seeds);
    return {input.grad(), at::Tensor{}};
  }
};

} // namespace

std::vector<at::Tensor> recompute(RecomputedPart part, const at::Tensor& input) {
  if (!at::GradMode::is_enabled()) return part(input, false);
  // The nested backward pass must run even when only the part's own parameters need gradients.
  return Recompute::apply(input.requires_grad() ? input : input.detach().requires_grad_(), part);
}

} // namespace conclave::ops
