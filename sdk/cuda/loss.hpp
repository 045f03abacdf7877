// Launcher of the cross entropy of rows of logits; see ops/gpu_kernels.hpp for what it computes.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct CrossEntropy {
  const float* logits; ///< [rows, columns]
  const std::int64_t* labels;
  const bool* mask;
  std::int64_t rows, columns;
  float label_smoothing, z_loss;
  float *loss, *nll; ///< [rows]
  void* gradient;    ///< [rows, columns] of `type`; may be null
  Type type;
};

void cross_entropy(const CrossEntropy& c, cudaStream_t stream);

} // namespace conclave::cuda
