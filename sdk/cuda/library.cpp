// libconclave_cuda.so: its one export, and what all bindings use.

#include <ATen/Functions.h>

#include "kernels.hpp"

namespace conclave::cuda {

int multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

Type type_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat: return Type::fp32;
    case at::kHalf: return Type::fp16;
    case at::kBFloat16: return Type::bf16;
    default: TORCH_CHECK(false, "no CUDA kernel for ", x.scalar_type());
  }
}

const void* data(const at::Tensor& x) { return mutable_data(x); }

void* mutable_data(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  TORCH_CHECK(x.is_cuda() && x.is_contiguous(), "a CUDA kernel was given a tensor that is not contiguous on a GPU");
  return x.data_ptr();
}

const float* floats(const at::Tensor& x) { return mutable_floats(x); }

float* mutable_floats(const at::Tensor& x) {
  TORCH_CHECK(!x.defined() || x.scalar_type() == at::kFloat, "fp32 is needed here, not ", x.scalar_type());
  return static_cast<float*>(mutable_data(x));
}

void check_launch() {
  const cudaError_t error = cudaGetLastError();
  TORCH_CHECK(error == cudaSuccess, "a CUDA kernel was not launched: ", cudaGetErrorString(error));
}

} // namespace conclave::cuda

namespace {
const conclave::cuda::Kernels kernels;
}

extern "C" __attribute__((visibility("default"))) const conclave::ops::GpuKernels* const conclave_gpu_kernels =
    &kernels;
