// AdamW on flat tensors.

#include "update.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>

#include <cmath>

namespace conclave::adamw {
namespace {

// What a range needs, rounded once to the element type.
template <class T>
struct Rounded {
  T gradient_scale, decay, lerp, beta2, one_minus_beta2, inverse_correction2, eps, step_size;
};

template <class T>
void update_range(T* __restrict master, const T* __restrict gradient, T* __restrict average, T* __restrict square,
                  std::int64_t n, const Rounded<T>& c) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * c.gradient_scale;
    const T m = average[i] + c.lerp * (g - average[i]);
    const T v = square[i] * c.beta2 + c.one_minus_beta2 * (g * g);
    const T denominator = std::sqrt(v) * c.inverse_correction2 + c.eps;
    average[i] = m;
    square[i] = v;
    master[i] = master[i] * c.decay - c.step_size * (m / denominator);
  }
}

} // namespace

void update_cpu(Segment& segment, const UpdateScalars& scalars, const Coefficients& coefficients) {
  if (scalars.gate->apply.item<double>() == 0) return;
  const double step = scalars.step.item<double>();
  const double rate = scalars.learning_rate.item<double>();
  const double correction1 = 1 - std::pow(coefficients.beta1, step);
  const double correction2 = 1 - std::pow(coefficients.beta2, step);
  AT_DISPATCH_FLOATING_TYPES(segment.master.scalar_type(), "adamw", [&] {
    const Rounded<scalar_t> rounded{
        static_cast<scalar_t>(scalars.gate->gradient_scale.item<double>()),
        static_cast<scalar_t>(1 - rate * coefficients.weight_decay),
        static_cast<scalar_t>(1 - coefficients.beta1),
        static_cast<scalar_t>(coefficients.beta2),
        static_cast<scalar_t>(1 - coefficients.beta2),
        static_cast<scalar_t>(1 / std::sqrt(correction2)),
        static_cast<scalar_t>(coefficients.eps),
        static_cast<scalar_t>(rate / correction1),
    };
    auto* master = segment.master.mutable_data_ptr<scalar_t>();
    const auto* gradient = segment.gradient.const_data_ptr<scalar_t>();
    auto* average = segment.states[0].mutable_data_ptr<scalar_t>();
    auto* square = segment.states[1].mutable_data_ptr<scalar_t>();
    at::parallel_for(0, segment.master.numel(), 16384, [&](std::int64_t begin, std::int64_t end) {
      update_range(master + begin, gradient + begin, average + begin, square + begin, end - begin, rounded);
    });
  });
}

namespace {

void update_composed(Segment& segment, const UpdateScalars& scalars, const Coefficients& c) {
  const at::Tensor apply = scalars.gate->apply.ne(0);
  const at::Tensor step = scalars.step.to(at::kDouble);
  const at::Tensor& average = segment.states[0];
  const at::Tensor& square = segment.states[1];
  const at::Tensor gradient = segment.gradient * scalars.gate->gradient_scale;
  const at::Tensor next_average = average.lerp(gradient, 1 - c.beta1);
  const at::Tensor next_square = (square * c.beta2).addcmul_(gradient, gradient, 1 - c.beta2);
  const at::Tensor correction1 = 1 - at::pow(c.beta1, step);
  const at::Tensor correction2 = 1 - at::pow(c.beta2, step);
  const at::Tensor denominator = (next_square.sqrt() / correction2.sqrt()).add_(c.eps);
  const at::Tensor decayed = segment.master * (1 - scalars.learning_rate * c.weight_decay);
  const at::Tensor next = decayed - scalars.learning_rate / correction1 * (next_average / denominator);
  // Chosen, not multiplied: what a skipped step computed may be no number.
  segment.master.copy_(at::where(apply, next, segment.master));
  average.copy_(at::where(apply, next_average, average));
  square.copy_(at::where(apply, next_square, square));
}

} // namespace

void update_device(Segment& segment, const UpdateScalars& scalars, const Coefficients& c) {
  if (segment.master.scalar_type() != at::kFloat) {
    update_composed(segment, scalars, c);
    return;
  }
  const std::vector<at::Tensor> master{segment.master}, gradient{segment.gradient}, average{segment.states[0]},
      square{segment.states[1]}, steps{scalars.step};
  const at::Tensor skip = 1 - scalars.gate->apply;             // the kernel's found_inf: writes nothing where it is 1
  const at::Tensor divisor = scalars.gate->gradient_scale.reciprocal(); // the kernel divides by its grad_scale
  at::_fused_adamw_(master, gradient, average, square, /*max_exp_avg_sqs=*/{}, steps, scalars.learning_rate, c.beta1,
                    c.beta2, c.weight_decay, c.eps, /*amsgrad=*/false, /*maximize=*/false, divisor, skip);
}

} // namespace conclave::adamw
