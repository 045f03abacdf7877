// Launchers of rms_norm; see ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct RmsNormShape {
  Type type;
  std::int64_t rows, width; ///< rows of whole 16-byte units
};

void rms_norm(const RmsNormShape& shape, const void* x, const float* weight, float eps, void* y, float* scale,
              cudaStream_t stream);

/// Rows of `partial` [n, width] that rms_norm_backward wants.
std::int64_t rms_norm_partial_rows(const RmsNormShape& shape);
/// `addend` may be null; `dweight` null: not wanted, and partial not used.
void rms_norm_backward(const RmsNormShape& shape, const void* dy, const void* x, const float* weight,
                       const float* scale, const void* addend, void* dx, float* partial, float* dweight,
                       bool accumulate, cudaStream_t stream);

/// out [columns] = the sum over the rows of `in` [rows, columns], in order; added to out when `accumulate`.
struct RowSum {
  const float* in;
  std::int64_t rows;
  float* out;
  bool accumulate;
};
void sum_rows(const RowSum& sum, std::int64_t columns, cudaStream_t stream);
/// Two at once.
void sum_rows(const RowSum& first, const RowSum& second, std::int64_t columns, cudaStream_t stream);

} // namespace conclave::cuda
