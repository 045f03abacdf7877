// AdamW on flat tensors.

#include "update.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>

#include <optional>
#include <vector>

namespace conclave::adamw {

void update_fused(Segment& segment, const UpdateScalars& scalars, const Coefficients& c) {
  const std::vector<at::Tensor> master{segment.master}, gradient{segment.gradient}, average{segment.states[0]},
      square{segment.states[1]}, steps{scalars.step};
  const at::Tensor skip =
      (1 - scalars.gate->apply).to(at::kFloat); // the kernel's found_inf: writes nothing where it is 1
  std::optional<at::Tensor> divisor;
  if (segment.master.scalar_type() == at::kFloat) {
    divisor = scalars.gate->gradient_scale.reciprocal(); // the kernel divides by its grad_scale
  } else {
    segment.gradient.mul_(scalars.gate->gradient_scale); // the kernel's would be fp32
  }
  at::_fused_adamw_(master, gradient, average, square, /*max_exp_avg_sqs=*/{}, steps, scalars.learning_rate, c.beta1,
                    c.beta2, c.weight_decay, c.eps, /*amsgrad=*/false, /*maximize=*/false, divisor, skip);
}

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

} // namespace conclave::adamw
