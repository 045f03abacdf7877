// Launchers of head_gate; see ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct HeadGateShape {
  Type type;
  std::int64_t rows, width; ///< rows of whole 16-byte units
};

void head_gate(const HeadGateShape& shape, const void* x, const void* logits, void* y, cudaStream_t stream);
void head_gate_backward(const HeadGateShape& shape, const void* dy, const void* x, const void* logits, void* dx,
                        void* dlogits, cudaStream_t stream);

} // namespace conclave::cuda
