// route with our CUDA kernels: two launches forward, one backward.

#include "gpu_router.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

struct GpuRoute : Function<GpuRoute> {
  static variable_list forward(AutogradContext* context, const at::Tensor& logits, const GpuKernels::RouteInputs& in) {
    const std::int64_t tokens = logits.size(0), experts = logits.size(1), k = in.options.top_k;
    const auto wide = logits.options(), whole = wide.dtype(at::kLong);
    const GpuKernels::RouteOutputs out{at::empty({tokens, k}, wide), at::empty({tokens, k}, whole),
                                       at::empty({experts}, whole),  at::empty({}, wide),
                                       at::empty({}, wide),          at::empty({in.sequences, experts}, wide)};
    gpu_kernels()->route(logits, in, out);
    context->save_for_backward({logits, out.experts, out.slope});
    context->mark_non_differentiable({out.experts, out.counts});
    context->set_materialize_grads(false);
    keep(context, in);
    return {out.weights, out.experts, out.counts, out.balance_loss, out.z_loss};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto whole = [&](std::size_t i) { return gradients[i].defined() ? gradients[i].contiguous() : at::Tensor{}; };
    const at::Tensor dlogits = at::empty_like(saved[0]);
    gpu_kernels()->route_backward(saved[0], kept<GpuKernels::RouteInputs>(context), saved[1], saved[2],
                                  {whole(0), whole(3), whole(4)}, dlogits);
    return {dlogits, at::Tensor{}};
  }
};

} // namespace

std::optional<Routing> route_on_gpu(const at::Tensor& logits, const at::Tensor& selection_bias,
                                    const at::Tensor& token_mask, std::int64_t sequences, const RouterOptions& options,
                                    const at::Tensor& previous_load) {
  const std::int64_t experts = logits.size(1), k = options.top_k;
  if (!logits.is_cuda() || logits.scalar_type() != at::kFloat || experts > GpuKernels::most_routed_experts ||
      k > GpuKernels::most_choices || k > experts || gpu_kernels() == nullptr)
    return std::nullopt;
  GpuKernels::RouteInputs in;
  if (selection_bias.defined()) in.selection_bias = selection_bias.detach().to(at::kFloat).contiguous();
  if (token_mask.defined()) in.mask = token_mask.contiguous();
  if (options.balance_scope == BalanceScope::batch_lagged) in.previous_load = previous_load.contiguous();
  in.sequences = sequences;
  in.options = options;
  const variable_list parts = GpuRoute::apply(logits.contiguous(), in);
  return Routing{parts[0], parts[1], options.balance_loss ? parts[3] : at::Tensor{},
                 options.z_loss ? parts[4] : at::Tensor{}, parts[2]};
}

} // namespace conclave::ops
