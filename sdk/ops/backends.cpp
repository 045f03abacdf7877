// The rules by which operators choose, in words.

#include "conclave/ops/backends.hpp"

#include <atomic>

#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

std::atomic<Operators> chosen = Operators::fused;

} // namespace

void use_operators(Operators operators) { chosen = operators; }

bool takes_kernels() { return chosen.load(std::memory_order_relaxed) == Operators::fused; }

std::vector<std::pair<std::string, std::string>> operator_backends(const Device& device, c10::ScalarType compute) {
  const bool cuda = device.kind == Device::Kind::cuda;
  if (!cuda && has_cpu_kernel(at::kCPU, compute)) {
    const std::string own = "Conclave CPU kernel";
    return {{"attention", own}, {"cross_entropy", own}, {"experts", own}, {"linear", "ATen mm"},
            {"rms_norm", own},  {"rotary", own},        {"router", own}};
  }
  const bool half = compute == at::kBFloat16 || compute == at::kHalf;
  const GpuKernels* const kernels = cuda && compute != at::kDouble ? gpu_kernels() : nullptr;
  std::string attention = "ATen scaled_dot_product_attention";
  if (kernels != nullptr && half && kernels->has_attention())
    attention = kernels->has_segments() ? "cuDNN; Conclave CUDA kernel for short segments" : "cuDNN; ATen for segments";
  else if (cuda && half)
    attention += "; flash attention for windows";
  const std::string aten = "ATen", own = kernels != nullptr ? "Conclave CUDA kernel" : aten;
  std::string experts = cuda && compute != at::kDouble ? "ATen _grouped_mm" : "ATen mm, expert by expert";
  if (kernels != nullptr)
    experts = kernels->prefers_grouped_product(compute) ? "Conclave CUDA kernels"
              : half && kernels->has_grouped()          ? "Conclave CUDA kernels; ATen _grouped_mm but for the weights"
                                                        : "Conclave CUDA kernels; ATen _grouped_mm";
  return {{"attention", attention}, {"cross_entropy", own}, {"experts", experts}, {"linear", "ATen mm"},
          {"rms_norm", own},        {"rotary", own},        {"router", own}};
}

} // namespace conclave::ops
