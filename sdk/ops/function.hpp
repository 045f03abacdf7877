// Private helpers of the operators' autograd functions. Not installed, not for plugins.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>

#include "conclave/ops/parameter.hpp"

namespace conclave::ops {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// Plain C++ state of one call (sinks, sizes, options), kept beside the saved tensors.
template <class State>
struct Kept final : torch::CustomClassHolder {
  explicit Kept(State s) : state(std::move(s)) {}
  State state;
};

template <class State>
void keep(AutogradContext* context, State state) {
  context->saved_data["state"] = c10::IValue::make_capsule(c10::make_intrusive<Kept<State>>(std::move(state)));
}

template <class State>
const State& kept(AutogradContext* context) {
  return static_cast<const Kept<State>&>(*context->saved_data["state"].toCapsule()).state;
}

/// An input that may be absent. Autograd refuses undefined tensors as inputs, and does not number what is absent: forward()
/// takes it as a `const std::optional<at::Tensor>&` and opens it with or_undefined().
inline std::optional<at::Tensor> optional_input(const at::Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}
inline at::Tensor or_undefined(const std::optional<at::Tensor>& x) { return x ? *x : at::Tensor{}; }

/// Hands a weight's gradient to its sink, or returns it for autograd when there is none.
inline at::Tensor deliver(GradSink* sink, at::Tensor gradient) {
  if (sink == nullptr) return gradient;
  contribute(*sink, gradient);
  return {};
}

/// Operators::fused is what this process takes; see conclave/ops/backends.hpp.
bool takes_kernels();

/// True where the hand-written CPU kernels apply: fp32 or fp64 on the CPU. Other types and devices take ATen's path.
inline bool has_cpu_kernel(at::DeviceType device, at::ScalarType type) {
  return device == at::kCPU && (type == at::kFloat || type == at::kDouble) && takes_kernels();
}
inline bool has_cpu_kernel(const at::Tensor& x) { return has_cpu_kernel(x.device().type(), x.scalar_type()); }

} // namespace conclave::ops
