// Rows of tokens sorted by expert. Each step's adjoint is a gather or a sum over choices, so no pass needs atomics.

#include "expert_rows.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>

#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

/// Sum over a token's choices: [T K, D] sorted rows -> [T, D]. Rows are picked choice by choice, so that each choice is one
/// block.
at::Tensor reduce_choices(const at::Tensor& rows, const at::Tensor& position) {
  if (const GpuKernels* const kernels = gpu_kernels_for(rows)) {
    at::Tensor sum = at::empty({position.size(0), rows.size(1)}, rows.options());
    kernels->sum_choices(rows.contiguous(), position, {}, sum);
    return sum;
  }
  const std::int64_t tokens = position.size(0), choices = position.size(1);
  const at::Tensor picked = rows.index_select(0, position.t().reshape({-1})).view({choices, tokens, rows.size(1)});
  if (choices == 1) return picked.select(0, 0);
  if (choices == 2) return picked.select(0, 0).add(picked.select(0, 1));
  return picked.sum(at::IntArrayRef{0}, false, rows.scalar_type());
}

at::Tensor pick_rows(const at::Tensor& x, const at::Tensor& source) {
  const GpuKernels* const kernels = gpu_kernels_for(x);
  if (kernels == nullptr) return x.index_select(0, source);
  at::Tensor rows = at::empty({source.size(0), x.size(1)}, x.options());
  kernels->gather_rows(x.contiguous(), source, rows);
  return rows;
}

struct Permute : Function<Permute> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const ExpertRows& plan) {
    context->save_for_backward({plan.position});
    return pick_rows(x, plan.source);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {reduce_choices(gradients[0], context->get_saved_variables()[0]), at::Tensor{}};
  }
};

/// The adjoint of Permute.
struct Combine : Function<Combine> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& rows, const ExpertRows& plan) {
    context->save_for_backward({plan.source});
    return reduce_choices(rows, plan.position);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {pick_rows(gradients[0], context->get_saved_variables()[0]), at::Tensor{}};
  }
};

/// A permutation, so its adjoint is a gather too.
struct SortWeights : Function<SortWeights> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weights, const ExpertRows& plan) {
    context->save_for_backward({plan.position});
    const at::Tensor flat = weights.reshape({-1, 1});
    return at::empty_like(flat).index_copy_(0, plan.position.reshape({-1}), flat);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor position = context->get_saved_variables()[0];
    return {gradients[0].index_select(0, position.reshape({-1})).view(position.sizes()), at::Tensor{}};
  }
};

} // namespace

ExpertRows sort_by_expert(const at::Tensor& experts, std::int64_t expert_count) {
  const std::int64_t pairs = experts.numel();
  if (const GpuKernels* const kernels = experts.is_cuda() ? gpu_kernels() : nullptr;
      kernels != nullptr && expert_count <= GpuKernels::most_experts) {
    ExpertRows plan;
    plan.pair = at::empty({pairs}, experts.options());
    plan.source = at::empty({pairs}, experts.options());
    plan.position = at::empty(experts.sizes(), experts.options());
    plan.ends = at::empty({expert_count}, experts.options().dtype(at::kInt));
    kernels->sort_by_expert(experts.contiguous(), plan.pair, plan.source, plan.position, plan.ends);
    return plan;
  }
  const at::Tensor flat = experts.reshape({pairs});
  const auto [sorted, order] = at::sort(flat, std::optional<bool>(true), 0, false);
  ExpertRows plan;
  plan.pair = order;
  plan.source = order.floor_divide(experts.size(1));
  plan.position = at::empty_like(order).scatter_(0, order, at::arange(pairs, order.options())).view(experts.sizes());
  // A search instead of bincount, which syncs with the host.
  plan.ends = at::searchsorted(sorted, at::arange(expert_count, flat.options()), true, true);
  return plan;
}

at::Tensor permute(const at::Tensor& x, const ExpertRows& plan) { return Permute::apply(x, plan); }
at::Tensor sort_weights(const at::Tensor& weights, const ExpertRows& plan) { return SortWeights::apply(weights, plan); }
at::Tensor combine(const at::Tensor& rows, const ExpertRows& plan) { return Combine::apply(rows, plan); }

} // namespace conclave::ops
