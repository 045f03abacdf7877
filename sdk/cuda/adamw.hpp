// Launcher of the AdamW update; see conclave/ops/adamw.hpp for what it computes.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct AdamW {
  float* master;
  const float* gradient;
  float *average, *square;
  void* value; ///< of `value_type`; may be null
  Type value_type;
  std::int64_t count;
  const float *learning_rate, *step, *gradient_scale, *apply; ///< on the device
  double beta1, beta2, eps, weight_decay;
};

void adamw(const AdamW& update, cudaStream_t stream);

} // namespace conclave::cuda
