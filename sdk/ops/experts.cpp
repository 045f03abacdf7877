// swiglu_experts and swiglu: the CPU kernels for fp32 and fp64, our CUDA kernels around grouped products, ATen's operators
// elsewhere.

#include "conclave/ops/experts.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

#include "conclave/ops/linear.hpp"
#include "cpu_kernels.hpp"
#include "expert_rows.hpp"
#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

/// ATen's grouped product wants rows of whole 16-byte units, forward and backward.
bool grouped_product_applies(const at::Tensor& rows, const at::Tensor& weight) {
  const auto type = rows.scalar_type();
  const auto aligned = [&](std::int64_t n) { return n * static_cast<std::int64_t>(rows.element_size()) % 16 == 0; };
  return rows.is_cuda() && rows.size(0) > 0 && (type == at::kBFloat16 || type == at::kHalf || type == at::kFloat) &&
         aligned(weight.size(1)) && aligned(weight.size(2));
}

/// rows [R, K] of group e times weight[e]^T, weight [E, N, K] -> [R, N].
at::Tensor grouped_product(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& ends) {
  if (grouped_product_applies(rows, weight)) return at::_grouped_mm(rows, weight.transpose(1, 2), ends);
  const at::Tensor host_ends = ends.to(at::kCPU);
  const std::int32_t* end = host_ends.const_data_ptr<std::int32_t>();
  std::vector<at::Tensor> parts;
  std::int64_t begin = 0;
  for (std::int64_t e = 0; e < weight.size(0); begin = end[e++]) {
    parts.push_back(at::mm(rows.narrow(0, begin, end[e] - begin), weight.select(0, e).t()));
  }
  return at::cat(parts);
}

struct ExpertState {
  cpu::ExpertShape shape;
  cpu::ExpertPlan plan;
  GradSink *gate_up = nullptr, *down = nullptr;
  bool has_addend = false;
};

struct CpuExperts : Function<CpuExperts> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weights,
                            const at::Tensor& gate_up, const at::Tensor& down, const std::optional<at::Tensor>& addend,
                            ExpertState& state) {
    const cpu::ExpertShape& s = state.shape;
    const at::Tensor before = at::empty({s.tokens * s.top_k, 2 * s.hidden}, x.options());
    at::Tensor y = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "swiglu_experts", [&] {
      const cpu::ExpertInputs<scalar_t> in{x.const_data_ptr<scalar_t>(), weights.const_data_ptr<scalar_t>(),
                                           gate_up.const_data_ptr<scalar_t>(), down.const_data_ptr<scalar_t>()};
      cpu::experts_forward(s, state.plan, in, addend ? addend->const_data_ptr<scalar_t>() : nullptr,
                           before.mutable_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({x, weights, gate_up, down, before});
    keep(context, std::move(state));
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weights = saved[1], &gate_up = saved[2], &down = saved[3], &before = saved[4];
    const auto& state = kept<ExpertState>(context);
    const at::Tensor dy = gradients[0].contiguous();
    const at::Tensor dx = at::empty_like(x), dweights = at::empty_like(weights);
    const at::Tensor dgate_up = state.gate_up != nullptr ? state.gate_up->gradient : at::empty_like(gate_up);
    const at::Tensor ddown = state.down != nullptr ? state.down->gradient : at::empty_like(down);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "swiglu_experts_backward", [&] {
      const cpu::ExpertInputs<scalar_t> in{x.const_data_ptr<scalar_t>(), weights.const_data_ptr<scalar_t>(),
                                           gate_up.const_data_ptr<scalar_t>(), down.const_data_ptr<scalar_t>()};
      const cpu::ExpertGradients<scalar_t> out{dx.mutable_data_ptr<scalar_t>(),
                                               dweights.mutable_data_ptr<scalar_t>(),
                                               dgate_up.mutable_data_ptr<scalar_t>(),
                                               ddown.mutable_data_ptr<scalar_t>(),
                                               state.gate_up != nullptr && !state.gate_up->overwrite(),
                                               state.down != nullptr && !state.down->overwrite()};
      cpu::experts_backward(state.shape, state.plan, in, before.const_data_ptr<scalar_t>(),
                            dy.const_data_ptr<scalar_t>(), out);
    });
    if (state.gate_up != nullptr) state.gate_up->ready();
    if (state.down != nullptr) state.down->ready();
    return {dx,
            dweights,
            state.gate_up != nullptr ? at::Tensor{} : dgate_up,
            state.down != nullptr ? at::Tensor{} : ddown,
            state.has_addend && context->needs_input_grad(4) ? dy : at::Tensor{},
            at::Tensor{}};
  }
};

/// True where the kernel's one type serves for activations, weights, parameters and main gradients alike.
bool cpu_experts_apply(const at::Tensor& x, const at::Tensor& weights, const BoundParam& gate_up,
                       const BoundParam& down) {
  const auto same = [&](const BoundParam& p) {
    return p.value.scalar_type() == x.scalar_type() &&
           (p.sink == nullptr ||
            (p.sink->gradient.scalar_type() == x.scalar_type() && p.sink->gradient.is_contiguous()));
  };
  return has_cpu_kernel(x) && weights.scalar_type() == x.scalar_type() && same(gate_up) && same(down);
}

struct CpuSwiglu : Function<CpuSwiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input) {
    const at::Tensor x = input.contiguous();
    const std::int64_t width = x.size(-1) / 2;
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.back() = width;
    at::Tensor y = at::empty(shape, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "swiglu", [&] {
      cpu::swiglu_forward(x.const_data_ptr<scalar_t>(), y.numel() / width, width, y.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({x});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor x = context->get_saved_variables()[0], dy = gradients[0].contiguous(), dx = at::empty_like(x);
    const std::int64_t width = dy.size(-1);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "swiglu_backward", [&] {
      cpu::swiglu_backward(dy.const_data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(), dy.numel() / width, width,
                           dx.mutable_data_ptr<scalar_t>());
    });
    return {dx};
  }
};

/// silu(gate) * up, then times the row's weight when there is one, with ATen's operators; rounded to x's type after each
/// product, the last one computed in the wider of the two types. The backward pass writes both halves of one tensor, where
/// autograd would fill, copy and add two.
struct AtenSwiglu : Function<AtenSwiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& weights) {
    const std::int64_t half = x.size(-1) / 2;
    at::Tensor y = at::silu(x.narrow(-1, 0, half)).mul_(x.narrow(-1, half, half));
    context->save_for_backward({x, or_undefined(weights)});
    if (weights) y = narrow_product(y, *weights);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weights = saved[1];
    const std::int64_t half = x.size(-1) / 2;
    const at::Tensor gate = x.narrow(-1, 0, half), up = x.narrow(-1, half, half), silu = at::silu(gate);
    at::Tensor dy = gradients[0], dweights;
    if (weights.defined()) {
      if (context->needs_input_grad(1)) dweights = dot_of_rows(dy, silu * up, weights.scalar_type());
      dy = narrow_product(dy, weights);
    }
    const at::Tensor dx = at::empty_like(x, at::MemoryFormat::Contiguous);
    at::Tensor dgate = dx.narrow(-1, 0, half), dup = dx.narrow(-1, half, half);
    at::silu_backward_out(dgate, dy * up, gate);
    at::mul_out(dup, dy, silu);
    return {dx, dweights};
  }

 private:
  /// [R, N] times [R, N] -> [R, 1] in `type`, summed in fp32. A product of two bf16 numbers may be rounded to bf16 like them;
  /// one of two fp16 numbers could leave that type's range.
  static at::Tensor dot_of_rows(const at::Tensor& a, const at::Tensor& b, at::ScalarType type) {
    const at::Tensor product = a.scalar_type() == at::kHalf ? a.to(type) * b : a * b;
    return product.sum(at::IntArrayRef{-1}, true, type);
  }

  /// The product in the wider type, rounded to a's.
  static at::Tensor narrow_product(const at::Tensor& a, const at::Tensor& b) {
    at::Tensor product = at::empty_like(a, at::MemoryFormat::Contiguous);
    at::mul_out(product, a, b);
    return product;
  }
};

/// Without a weight, our kernels.
struct GpuSwiglu : Function<GpuSwiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input) {
    const at::Tensor x = input.reshape({-1, input.size(-1)}).contiguous();
    std::vector<std::int64_t> shape = input.sizes().vec();
    shape.back() /= 2;
    at::Tensor y = at::empty({x.size(0), x.size(1) / 2}, x.options());
    gpu_kernels()->swiglu(x, {}, y);
    context->save_for_backward({x});
    keep(context, input.sizes().vec());
    return y.view(shape);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor x = context->get_saved_variables()[0], dx = at::empty_like(x);
    gpu_kernels()->swiglu_backward(gradients[0].reshape({x.size(0), -1}).contiguous(), x, {}, dx, {}, {});
    return {dx.view(kept<std::vector<std::int64_t>>(context))};
  }
};

/// Experts on a GPU. What is kept for the backward pass: the sorted rows, as gathering them again would move twice their bytes; and
/// the first product of each. SwiGLU's result is computed again there, by the kernel that goes back through it.
struct GpuExpertState {
  ExpertRows plan;
  GradSink *gate_up = nullptr, *down = nullptr;
  bool has_addend = false;
};

struct GpuExperts : Function<GpuExperts> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weights,
                            const at::Tensor& gate_up, const at::Tensor& down, const std::optional<at::Tensor>& addend,
                            const GpuExpertState& state) {
    const ExpertRows& plan = state.plan;
    const GpuKernels& kernels = *gpu_kernels();
    const at::Tensor rows = at::empty({plan.source.size(0), x.size(1)}, x.options());
    kernels.gather_rows(x, plan.source, rows);
    const at::Tensor hidden = forward_product(rows, gate_up, plan.ends);
    const at::Tensor activated = at::empty({rows.size(0), down.size(2)}, x.options());
    kernels.swiglu(hidden, {weights, plan.pair}, activated);
    const at::Tensor results = forward_product(activated, down, plan.ends);
    at::Tensor y = at::empty_like(x);
    kernels.sum_choices(results, plan.position, or_undefined(addend), y);
    context->save_for_backward({rows, weights, hidden, gate_up, down});
    keep(context, state);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &weights = saved[1], &hidden = saved[2], &gate_up = saved[3], &down = saved[4];
    const auto& state = kept<GpuExpertState>(context);
    const ExpertRows& plan = state.plan;
    const GpuKernels& kernels = *gpu_kernels();
    const at::Tensor dy = gradients[0].contiguous(), dhidden = at::empty_like(hidden);
    at::Tensor dresults = at::empty({rows.size(0), dy.size(1)}, dy.options());
    kernels.gather_rows(dy, plan.source, dresults);
    at::Tensor dactivated = backward_product(dresults, down, plan.ends), activated = at::empty_like(dactivated);
    const at::Tensor dweights = context->needs_input_grad(1) ? at::empty_like(weights) : at::Tensor{};
    kernels.swiglu_backward(dactivated, hidden, {weights, plan.pair}, dhidden, activated, dweights);
    at::Tensor ddown = weight_gradient(dresults, activated, plan.ends, down, state.down);
    for (at::Tensor* done : {&dresults, &dactivated, &activated}) done->reset(); // before there are more
    at::Tensor dgate_up = weight_gradient(dhidden, rows, plan.ends, gate_up, state.gate_up);
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      dx = at::empty({plan.position.size(0), rows.size(1)}, rows.options());
      kernels.sum_choices(backward_product(dhidden, gate_up, plan.ends), plan.position, {}, dx);
    }
    return {
        dx,          dweights, dgate_up, ddown, state.has_addend && context->needs_input_grad(4) ? dy : at::Tensor{},
        at::Tensor{}};
  }

 private:
  /// rows [R, K] times weight[e]^T, weight [E, N, K].
  static at::Tensor forward_product(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& ends) {
    const GpuKernels& kernels = *gpu_kernels();
    if (!kernels.prefers_grouped_product(rows.scalar_type())) return grouped_product(rows, weight, ends);
    at::Tensor y = at::empty({rows.size(0), weight.size(1)}, rows.options());
    kernels.grouped_product(rows, weight, ends, true, y);
    return y;
  }

  /// rows [R, N] times weight[e].
  static at::Tensor backward_product(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& ends) {
    const GpuKernels& kernels = *gpu_kernels();
    if (!kernels.prefers_grouped_product(rows.scalar_type())) return at::_grouped_mm(rows, weight, ends);
    at::Tensor y = at::empty({rows.size(0), weight.size(2)}, rows.options());
    kernels.grouped_product(rows, weight, ends, false, y);
    return y;
  }

  /// left^T right by expert, into the sink or returned.
  static at::Tensor weight_gradient(const at::Tensor& left, const at::Tensor& right, const at::Tensor& ends,
                                    const at::Tensor& weight, GradSink* sink) {
    const GpuKernels& kernels = *gpu_kernels();
    if (left.scalar_type() == at::kFloat || !kernels.has_grouped())
      return deliver(sink, at::_grouped_mm(left.t(), right, ends));
    const at::Tensor sum =
        sink != nullptr ? sink->gradient : at::empty(weight.sizes(), left.options().dtype(at::kFloat));
    kernels.grouped_weight_gradient(left, right, ends, sum, sink != nullptr && !sink->overwrite());
    if (sink == nullptr) return sum.to(weight.scalar_type());
    sink->ready();
    return {};
  }
};

/// True where our kernels and the grouped products take the shapes and types.
bool gpu_experts_apply(const at::Tensor& x, const at::Tensor& weights, const BoundParam& gate_up,
                       const BoundParam& down) {
  const auto same = [&](const BoundParam& p) {
    return p.value.scalar_type() == x.scalar_type() && p.value.is_contiguous() &&
           (p.sink == nullptr || (p.sink->gradient.scalar_type() == at::kFloat && p.sink->gradient.is_contiguous()));
  };
  return gpu_kernels_for(x) != nullptr && gpu_kernels_for(down.value) != nullptr && x.size(0) > 0 &&
         weights.scalar_type() == at::kFloat && same(gate_up) && same(down);
}

at::Tensor swiglu_of(const at::Tensor& gate_and_up) {
  if (has_cpu_kernel(gate_and_up)) return CpuSwiglu::apply(gate_and_up);
  const std::int64_t half_bytes = gate_and_up.size(-1) / 2 * static_cast<std::int64_t>(gate_and_up.element_size());
  if (gpu_kernels_for(gate_and_up) != nullptr && half_bytes % 16 == 0) return GpuSwiglu::apply(gate_and_up);
  return AtenSwiglu::apply(gate_and_up, std::nullopt);
}

} // namespace

at::Tensor swiglu_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                          const BoundParam& gate_up, const BoundParam& down, const at::Tensor& addend) {
  if (cpu_experts_apply(x, weights, gate_up, down)) {
    ExpertState state;
    state.shape = {x.size(0), experts.size(1), gate_up.value.size(0), x.size(1), down.value.size(2)};
    state.plan = cpu::plan_experts(experts.contiguous().const_data_ptr<std::int64_t>(), state.shape);
    state.gate_up = gate_up.sink;
    state.down = down.sink;
    state.has_addend = addend.defined();
    return CpuExperts::apply(x.contiguous(), weights.contiguous(), gate_up.value, down.value,
                             optional_input(state.has_addend ? addend.contiguous() : addend), state);
  }
  const ExpertRows plan = sort_by_expert(experts, gate_up.value.size(0));
  if (gpu_experts_apply(x, weights, gate_up, down))
    return GpuExperts::apply(x.contiguous(), weights.contiguous(), gate_up.value, down.value,
                             optional_input(addend.defined() ? addend.contiguous() : addend),
                             GpuExpertState{plan, gate_up.sink, down.sink, addend.defined()});
  const at::Tensor rows = permute(x, plan);
  const at::Tensor weighted = AtenSwiglu::apply(grouped_product(rows, as_variable(gate_up), plan.ends),
                                                std::optional(sort_weights(weights, plan)));
  const at::Tensor y = combine(grouped_product(weighted, as_variable(down), plan.ends), plan);
  return addend.defined() ? addend + y : y;
}

at::Tensor swiglu(const at::Tensor& x, const BoundParam& gate_up, const BoundParam& down, const at::Tensor& addend) {
  return linear(swiglu_of(linear(x, gate_up)), down, nullptr, addend);
}

} // namespace conclave::ops
