// Opens libconclave_cuda.so.

#include "gpu_kernels.hpp"

#include <dlfcn.h>

#include "function.hpp"

namespace conclave::ops {

GpuKernels::~GpuKernels() = default;

const GpuKernels* gpu_kernels() {
  static const GpuKernels* const kernels = []() -> const GpuKernels* {
    void* library = dlopen("libconclave_cuda.so", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    const auto* instance = static_cast<const GpuKernels* const*>(dlsym(library, gpu_kernels_symbol));
    return instance != nullptr ? *instance : nullptr;
  }();
  return takes_kernels() ? kernels : nullptr;
}

const GpuKernels* gpu_kernels_for(const at::Tensor& x) {
  const auto type = x.scalar_type();
  if (!x.is_cuda() || (type != at::kFloat && type != at::kBFloat16 && type != at::kHalf)) return nullptr;
  if (x.dim() == 0 || x.size(-1) * static_cast<std::int64_t>(x.element_size()) % 16 != 0) return nullptr;
  return gpu_kernels();
}

} // namespace conclave::ops
