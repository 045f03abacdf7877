// The rules by which operators choose, in words.

#include "conclave/ops/backends.hpp"

#include "function.hpp"

namespace conclave::ops {

std::vector<std::pair<std::string, std::string>> operator_backends(const Device& device, c10::ScalarType compute) {
  const bool cuda = device.kind == Device::Kind::cuda;
  if (!cuda && has_cpu_kernel(at::kCPU, compute)) {
    const std::string own = "Conclave CPU kernel";
    return {{"attention", own}, {"cross_entropy", own}, {"experts", own}, {"linear", "ATen mm"},
            {"rms_norm", own},  {"rotary", own},        {"router", own}};
  }
  const bool half = compute == at::kBFloat16 || compute == at::kHalf;
  const std::string aten = "ATen";
  return {{"attention", cuda && half ? "ATen scaled_dot_product_attention; flash attention for windows"
                                     : "ATen scaled_dot_product_attention"},
          {"cross_entropy", aten},
          {"experts", cuda && compute != at::kDouble ? "ATen _grouped_mm" : "ATen mm, expert by expert"},
          {"linear", "ATen mm"},
          {"rms_norm", aten},
          {"rotary", aten},
          {"router", aten}};
}

} // namespace conclave::ops
