// rms_norm: the CPU kernel for fp32 and fp64, our CUDA kernels, ATen's operators elsewhere.

#include "conclave/ops/rms_norm.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "cpu_kernels.hpp"
#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

struct RmsNormState {
  GradSink* sink = nullptr;
  double eps = 0;
};

struct CpuRmsNorm : Function<CpuRmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const RmsNormState& state) {
    const at::Tensor x = input.contiguous();
    const std::int64_t width = x.size(-1), rows = x.numel() / width;
    const at::Tensor scale = at::empty({rows}, x.options());
    at::Tensor y = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
      cpu::rms_norm_forward(x.const_data_ptr<scalar_t>(), weight.const_data_ptr<scalar_t>(), rows, width, state.eps,
                            y.mutable_data_ptr<scalar_t>(), scale.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({x, weight, scale});
    keep(context, state);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const at::Tensor dy = gradients[0].contiguous();
    const std::int64_t width = x.size(-1), rows = x.numel() / width;
    const at::Tensor dx = at::empty_like(x), partial = at::zeros({cpu::reduction_blocks(rows), width}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_backward", [&] {
      cpu::rms_norm_backward(dy.const_data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(),
                             weight.const_data_ptr<scalar_t>(), scale.const_data_ptr<scalar_t>(), rows, width,
                             dx.mutable_data_ptr<scalar_t>(), partial.mutable_data_ptr<scalar_t>());
    });
    at::Tensor dweight;
    if (context->needs_input_grad(1)) dweight = deliver(kept<RmsNormState>(context).sink, partial.sum(0));
    return {dx, dweight, at::Tensor{}};
  }
};

/// On a GPU, with our kernels: y, and x again for the residual stream, whose gradient joins x's in the kernel.
struct GpuRmsNorm : Function<GpuRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                               const RmsNormState& state) {
    const at::Tensor x = input.contiguous();
    const at::Tensor scale = at::empty({x.numel() / x.size(-1)}, weight.options());
    at::Tensor y = at::empty_like(x);
    gpu_kernels()->rms_norm(x, weight, state.eps, y, scale);
    context->save_for_backward({x, weight, scale});
    context->set_materialize_grads(false);
    keep(context, state);
    return {y, input};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    GradSink* const sink = kept<RmsNormState>(context).sink;
    const at::Tensor dy = gradients[0].defined() ? gradients[0].contiguous() : at::zeros_like(x);
    const at::Tensor dresidual = gradients[1].defined() ? gradients[1].contiguous() : at::Tensor{};
    const at::Tensor dx = at::empty_like(x);
    at::Tensor dweight;
    if (context->needs_input_grad(1)) dweight = sink != nullptr ? sink->gradient : at::empty_like(weight);
    gpu_kernels()->rms_norm_backward(dy, x, weight, saved[2], dresidual, dx, dweight,
                                     sink != nullptr && !sink->overwrite());
    if (sink == nullptr) return {dx, dweight, at::Tensor{}};
    if (dweight.defined()) sink->ready();
    return {dx, at::Tensor{}, at::Tensor{}};
  }
};

/// Whether GpuRmsNorm takes these; the longest row is what a block holds.
bool has_gpu_kernel(const at::Tensor& x, const at::Tensor& weight) {
  constexpr std::int64_t longest = 32768;
  return weight.scalar_type() == at::kFloat && x.size(-1) * static_cast<std::int64_t>(x.element_size()) <= longest &&
         gpu_kernels_for(x) != nullptr;
}

/// On a GPU with ATen's fused kernels, which compute in fp32 and take the weight in x's type. A weight's gradient is a sum over
/// all tokens: it may leave fp16's range, so that type's backward pass is widened first.
struct AtenRmsNorm : Function<AtenRmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const RmsNormState& state) {
    const auto [y, scale] = at::_fused_rms_norm(x.contiguous(), {x.size(-1)}, weight.to(x.scalar_type()), state.eps);
    context->save_for_backward({x, weight, scale});
    keep(context, state);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const at::ScalarType type = x.scalar_type() == at::kHalf ? at::kFloat : x.scalar_type();
    const bool wants_weight = context->needs_input_grad(1);
    auto [dx, dweight] =
        at::_fused_rms_norm_backward(gradients[0].to(type).contiguous(), x.to(type).contiguous(), {x.size(-1)}, scale,
                                     weight.to(type), {context->needs_input_grad(0), wants_weight});
    if (wants_weight) {
      GradSink* const sink = kept<RmsNormState>(context).sink;
      dweight = deliver(sink, sink != nullptr ? dweight : dweight.to(weight.scalar_type()));
    }
    return {dx.defined() ? dx.to(x.scalar_type()) : dx, wants_weight ? dweight : at::Tensor{}, at::Tensor{}};
  }
};

} // namespace

at::Tensor rms_norm(const at::Tensor& x, const BoundParam& weight, double eps) {
  if (has_cpu_kernel(x) && weight.value.scalar_type() == x.scalar_type()) {
    return CpuRmsNorm::apply(x, weight.value, RmsNormState{weight.sink, eps});
  }
  if (has_gpu_kernel(x, weight.value)) return GpuRmsNorm::apply(x, weight.value, RmsNormState{weight.sink, eps})[0];
  if (x.is_cuda()) return AtenRmsNorm::apply(x, weight.value, RmsNormState{weight.sink, eps});
  const at::Tensor wide = x.to(accumulation_type(x.scalar_type()));
  const at::Tensor scale = wide.square().mean(-1, true).add(eps).rsqrt();
  return (wide * scale * as_variable(weight)).to(x.scalar_type());
}

NormedResidual rms_norm_residual(const at::Tensor& x, const BoundParam& weight, double eps) {
  if (!has_gpu_kernel(x, weight.value)) return {rms_norm(x, weight, eps), x};
  const auto outputs = GpuRmsNorm::apply(x, weight.value, RmsNormState{weight.sink, eps});
  return {outputs[0], outputs[1]};
}

} // namespace conclave::ops
