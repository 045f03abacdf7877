// adamw: asks for the CUDA kernel.

#include "conclave/ops/adamw.hpp"

#include "gpu_kernels.hpp"

namespace conclave::ops {

bool adamw(Segment& segment, const UpdateScalars& scalars, const AdamWCoefficients& coefficients) {
  const at::Tensor& master = segment.master;
  if (!master.is_cuda() || master.scalar_type() != at::kFloat) return false;
  const GpuKernels* const kernels = gpu_kernels();
  if (kernels == nullptr) return false;
  kernels->adamw({master, segment.gradient, segment.states[0], segment.states[1], segment.value},
                 {scalars.learning_rate, scalars.step, scalars.gate->gradient_scale, scalars.gate->apply},
                 coefficients);
  return true;
}

} // namespace conclave::ops
