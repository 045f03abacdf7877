// route: the CPU kernel for fp32 and fp64, ATen's operators elsewhere.

#include "conclave/ops/router.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include "cpu_kernels.hpp"
#include "function.hpp"

namespace conclave::ops {
namespace {

const bool* mask_of(const at::Tensor& mask) { return mask.defined() ? mask.const_data_ptr<bool>() : nullptr; }

struct CpuRoute : Function<CpuRoute> {
  static variable_list forward(AutogradContext* context, const at::Tensor& logits,
                               const std::optional<at::Tensor>& selection_bias,
                               const std::optional<at::Tensor>& token_mask, const cpu::RouterShape& shape) {
    const at::Tensor bias = or_undefined(selection_bias), mask = or_undefined(token_mask);
    const std::int64_t tokens = logits.size(0);
    const at::Tensor weights = at::empty({tokens, shape.top_k}, logits.options());
    const at::Tensor chosen = at::empty({tokens, shape.top_k}, logits.options().dtype(at::kLong));
    const at::Tensor load = at::empty({shape.sequences, shape.experts}, chosen.options());
    double balance = 0, z = 0;
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "route", [&] {
      cpu::router_forward(shape, logits.const_data_ptr<scalar_t>(),
                          bias.defined() ? bias.const_data_ptr<scalar_t>() : nullptr, mask_of(mask),
                          weights.mutable_data_ptr<scalar_t>(), chosen.mutable_data_ptr<std::int64_t>(),
                          load.mutable_data_ptr<std::int64_t>(), &balance, &z);
    });
    context->save_for_backward({logits, mask, chosen, load});
    context->mark_non_differentiable({chosen, load});
    context->set_materialize_grads(false);
    keep(context, shape);
    return {weights, chosen, load, at::scalar_tensor(balance, logits.options()),
            at::scalar_tensor(z, logits.options())};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &logits = saved[0], &mask = saved[1], &chosen = saved[2], &load = saved[3];
    const auto& shape = kept<cpu::RouterShape>(context);
    const at::Tensor dweights =
        gradients[0].defined() ? gradients[0].contiguous() : at::zeros({logits.size(0), shape.top_k}, logits.options());
    const double dbalance = gradients[3].defined() ? gradients[3].item<double>() : 0;
    const double dz = gradients[4].defined() ? gradients[4].item<double>() : 0;
    const at::Tensor dlogits = at::empty_like(logits);
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "route_backward", [&] {
      cpu::router_backward(shape, logits.const_data_ptr<scalar_t>(), mask_of(mask),
                           chosen.const_data_ptr<std::int64_t>(), load.const_data_ptr<std::int64_t>(),
                           dweights.const_data_ptr<scalar_t>(), dbalance, dz, dlogits.mutable_data_ptr<scalar_t>());
    });
    return {dlogits, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

} // namespace

Routing route(const at::Tensor& logits, const at::Tensor& selection_bias, const at::Tensor& token_mask,
              std::int64_t sequences, const RouterOptions& options) {
  const std::int64_t tokens = logits.size(0), experts = logits.size(1), k = options.top_k;
  if (has_cpu_kernel(logits)) {
    const cpu::RouterShape shape{sequences,
                                 tokens / sequences,
                                 experts,
                                 k,
                                 options.scores == RouterScores::softmax,
                                 options.normalise_top_k,
                                 options.scaling};
    const at::Tensor bias =
        selection_bias.defined() ? selection_bias.to(logits.scalar_type()).contiguous() : at::Tensor{};
    const at::Tensor mask = token_mask.defined() ? token_mask.contiguous() : at::Tensor{};
    const auto parts = CpuRoute::apply(logits.contiguous(), optional_input(bias), optional_input(mask), shape);
    return {parts[0], parts[1], options.balance_loss ? parts[3] : at::Tensor{},
            options.z_loss ? parts[4] : at::Tensor{}, parts[2].sum(0)};
  }
  const at::Tensor scores = options.scores == RouterScores::softmax ? at::softmax(logits, 1) : at::sigmoid(logits);
  Routing routing;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor choice = selection_bias.defined() ? scores + selection_bias : scores;
    routing.experts = std::get<1>(at::topk(choice, k, 1, true, true));
  }
  at::Tensor weights = scores.gather(1, routing.experts);
  if (options.normalise_top_k) weights = weights / (weights.sum(1, true) + 1e-20); // all sigmoids may underflow
  routing.weights = options.scaling == 1 ? weights : weights * options.scaling;

  const at::Tensor real = token_mask.defined() ? token_mask.reshape({tokens, 1}).to(logits.scalar_type())
                                               : at::ones({tokens, 1}, logits.options());
  const std::vector<std::int64_t> by_sequence{sequences, tokens / sequences, experts};
  at::Tensor chosen;
  {
    const at::NoGradGuard no_grad;
    chosen = at::zeros({tokens, experts}, logits.options()).scatter_(1, routing.experts, 1).mul_(real);
    routing.counts = chosen.sum(0, false, at::kLong);
  }
  if (options.z_loss) routing.z_loss = (at::logsumexp(logits, 1).square() * real.squeeze(1)).sum();
  if (!options.balance_loss) return routing;
  const at::Tensor shares = options.scores == RouterScores::softmax ? scores : scores / (scores.sum(1, true) + 1e-20);
  const at::Tensor lengths = real.view({sequences, -1}).sum(1).clamp_min(1); // [B]
  const at::Tensor load = chosen.view(by_sequence).sum(1), mass = (shares * real).view(by_sequence).sum(1);
  const double scale = static_cast<double>(experts) / static_cast<double>(k);
  routing.balance_loss = ((load * mass).sum(1) / lengths.square()).sum() * scale;
  return routing;
}

} // namespace conclave::ops
