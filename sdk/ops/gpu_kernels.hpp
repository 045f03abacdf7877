// GpuKernels: our CUDA kernels as the operators call them.
//
// They live in libconclave_cuda.so (sdk/cuda), which is opened when the first operator meets a CUDA tensor: the program itself
// links no CUDA. Where it is missing, or a tensor does not fit, operators take ATen's path, which computes the same.
//
// Every method enqueues on the current stream of the tensors' device and waits for nothing. Tensors are contiguous, in fp32, bf16
// or fp16 where "any type" is said; sums are in fp32; nothing depends on the order of threads (no atomics on floating numbers).
// Outputs that the caller gives are written whole. Not installed, not for plugins.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "conclave/ops/router.hpp"

namespace conclave::ops {

class GpuKernels {
 public:
  virtual ~GpuKernels();

  // rms_norm ------------------------------------------------------------------------------------------------------

  /// y = x / sqrt(mean(x^2) + eps) * weight. x, y [N, D] any type, D * element size a multiple of 16; weight [D] fp32; scale
  /// [N] fp32 gets 1 / sqrt(mean(x^2) + eps).
  virtual void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& y,
                        const at::Tensor& scale) const = 0;
  /// dx [N, D] = the gradient through rms_norm, plus `addend` [N, D] when defined. dweight [D] fp32 is written, or added to when
  /// `accumulate`; undefined: not wanted.
  virtual void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& scale, const at::Tensor& addend, const at::Tensor& dx,
                                 const at::Tensor& dweight, bool accumulate) const = 0;

  // grouped products ------------------------------------------------------------------------------------------------

  /// False: built without CUTLASS, and the two below throw.
  [[nodiscard]] virtual bool has_grouped() const = 0;
  /// For rows of group g, ends[g - 1] <= row < ends[g]: y [R, N] = x [R, K] times weight[g]^T, weight [G, N, K], when
  /// `transposed`; else times weight[g], weight [G, K, N]. bf16 or fp16, one type; K and N multiples of 8; ends [G] int32. Rows from
  /// ends[G - 1] on are not written.
  virtual void grouped_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& ends, bool transposed,
                               const at::Tensor& y) const = 0;
  /// out [G, M, N] fp32 = left^T right over each group's rows, left [R, M], right [R, N]; added to out when `accumulate`.
  virtual void grouped_weight_gradient(const at::Tensor& left, const at::Tensor& right, const at::Tensor& ends,
                                       const at::Tensor& out, bool accumulate) const = 0;
};

/// Null where there is no GPU in use or no library.
const GpuKernels* gpu_kernels();

/// The kernels, when x is a tensor that they take: on a GPU, fp32, bf16 or fp16, rows of whole 16-byte units.
const GpuKernels* gpu_kernels_for(const at::Tensor& x);

/// What libconclave_cuda.so exports under this name: a pointer to the only instance.
inline constexpr const char* gpu_kernels_symbol = "conclave_gpu_kernels";

} // namespace conclave::ops
