// route: the CPU kernel for fp32 and fp64, our CUDA kernels, ATen's operators elsewhere.

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
#include "gpu_router.hpp"

namespace conclave::ops {
namespace {

const bool* mask_of(const at::Tensor& mask) { return mask.defined() ? mask.const_data_ptr<bool>() : nullptr; }

const std::int64_t* counts_of(const at::Tensor& load) {
  return load.defined() ? load.const_data_ptr<std::int64_t>() : nullptr;
}

struct CpuRoute : Function<CpuRoute> {
  static variable_list forward(AutogradContext* context, const at::Tensor& logits,
                               const std::optional<at::Tensor>& selection_bias,
                               const std::optional<at::Tensor>& token_mask,
                               const std::optional<at::Tensor>& previous_load, const cpu::RouterShape& shape) {
    const at::Tensor bias = or_undefined(selection_bias), mask = or_undefined(token_mask);
    const at::Tensor previous = or_undefined(previous_load);
    const std::int64_t tokens = logits.size(0);
    const at::Tensor weights = at::empty({tokens, shape.top_k}, logits.options());
    const at::Tensor chosen = at::empty({tokens, shape.top_k}, logits.options().dtype(at::kLong));
    const at::Tensor load = at::empty({shape.sequences, shape.experts}, chosen.options());
    double balance = 0, z = 0;
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "route", [&] {
      cpu::router_forward(shape, logits.const_data_ptr<scalar_t>(),
                          bias.defined() ? bias.const_data_ptr<scalar_t>() : nullptr, mask_of(mask),
                          counts_of(previous), weights.mutable_data_ptr<scalar_t>(),
                          chosen.mutable_data_ptr<std::int64_t>(), load.mutable_data_ptr<std::int64_t>(), &balance, &z);
    });
    context->save_for_backward({logits, mask, previous, chosen, load});
    context->mark_non_differentiable({chosen, load});
    context->set_materialize_grads(false);
    keep(context, shape);
    return {weights, chosen, load, at::scalar_tensor(balance, logits.options()),
            at::scalar_tensor(z, logits.options())};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &logits = saved[0], &mask = saved[1], &previous = saved[2], &chosen = saved[3], &load = saved[4];
    const auto& shape = kept<cpu::RouterShape>(context);
    const at::Tensor dweights =
        gradients[0].defined() ? gradients[0].contiguous() : at::zeros({logits.size(0), shape.top_k}, logits.options());
    const double dbalance = gradients[3].defined() ? gradients[3].item<double>() : 0;
    const double dz = gradients[4].defined() ? gradients[4].item<double>() : 0;
    const at::Tensor dlogits = at::empty_like(logits);
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "route_backward", [&] {
      cpu::router_backward(shape, logits.const_data_ptr<scalar_t>(), mask_of(mask), counts_of(previous),
                           chosen.const_data_ptr<std::int64_t>(), load.const_data_ptr<std::int64_t>(),
                           dweights.const_data_ptr<scalar_t>(), dbalance, dz, dlogits.mutable_data_ptr<scalar_t>());
    });
    return {dlogits, at::Tensor{}, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

/// load: choices of real tokens by sequence [B, E], without a gradient; mass: their normalised scores, summed likewise;
/// lengths: real tokens [B]; previous [E] in the batch_lagged scope.
at::Tensor balance_loss(const at::Tensor& load, const at::Tensor& mass, const at::Tensor& lengths,
                        const at::Tensor& previous, const RouterOptions& options) {
  const double scale = static_cast<double>(load.size(1)) / static_cast<double>(options.top_k);
  if (options.balance_scope == BalanceScope::batch_lagged) {
    const at::Tensor share = previous.to(mass.scalar_type()) / previous.sum();
    return (share * mass).sum() * static_cast<double>(load.size(1));
  }
  if (options.balance_scope == BalanceScope::micro_batch) {
    const at::Tensor tokens = lengths.sum().clamp_min(1);
    return (load.sum(0) * mass.sum(0)).sum() / tokens.square() * (scale * static_cast<double>(load.size(0)));
  }
  return ((load * mass).sum(1) / lengths.clamp_min(1).square()).sum() * scale;
}

} // namespace

Routing route(const at::Tensor& logits, const at::Tensor& selection_bias, const at::Tensor& token_mask,
              std::int64_t sequences, const RouterOptions& options, const at::Tensor& previous_load) {
  const std::int64_t tokens = logits.size(0), experts = logits.size(1), k = options.top_k;
  if (auto routing = route_on_gpu(logits, selection_bias, token_mask, sequences, options, previous_load))
    return *std::move(routing);
  at::Tensor previous; // without a host sync: one choice of each expert where nothing was chosen yet
  if (options.balance_scope == BalanceScope::batch_lagged)
    previous = previous_load.add(previous_load.sum().eq(0)).contiguous();
  if (has_cpu_kernel(logits)) {
    const cpu::RouterShape shape{sequences,
                                 tokens / sequences,
                                 experts,
                                 k,
                                 options.scores == RouterScores::softmax,
                                 options.normalise_top_k,
                                 options.scaling,
                                 options.balance_scope};
    const at::Tensor bias =
        selection_bias.defined() ? selection_bias.to(logits.scalar_type()).contiguous() : at::Tensor{};
    const at::Tensor mask = token_mask.defined() ? token_mask.contiguous() : at::Tensor{};
    const auto parts = CpuRoute::apply(logits.contiguous(), optional_input(bias), optional_input(mask),
                                       optional_input(previous), shape);
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
  routing.balance_loss = balance_loss(chosen.view(by_sequence).sum(1), (shares * real).view(by_sequence).sum(1),
                                      real.view({sequences, -1}).sum(1), previous, options);
  return routing;
}

} // namespace conclave::ops
