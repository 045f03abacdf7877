// The AdamW update.

#include "adamw.hpp"

#include "kernels.hpp"

namespace conclave::cuda {

void Kernels::adamw(const AdamWTensors& t, const AdamWScalars& s, const ops::AdamWCoefficients& c) const {
  CONCLAVE_KERNEL("adamw", t.master, t.master, t.gradient, t.average, t.average, t.square, t.square, t.value);
  AdamW update{};
  update.master = mutable_floats(t.master);
  update.gradient = floats(t.gradient);
  update.average = mutable_floats(t.average);
  update.square = mutable_floats(t.square);
  update.value = mutable_data(t.value);
  update.value_type = t.value.defined() ? type_of(t.value) : Type::bf16;
  update.count = t.master.numel();
  update.learning_rate = floats(s.learning_rate);
  update.step = floats(s.step);
  update.gradient_scale = floats(s.gradient_scale);
  update.apply = floats(s.apply);
  update.beta1 = c.beta1;
  update.beta2 = c.beta2;
  update.eps = c.eps;
  update.weight_decay = c.weight_decay;
  cuda::adamw(update, current_stream());
  check_launch();
}

} // namespace conclave::cuda
