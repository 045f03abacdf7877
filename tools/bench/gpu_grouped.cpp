// bench_gpu_grouped: grouped products of our kernels beside LibTorch's, in TFLOP/s, on one GPU in one run.
//
//   bench_gpu_grouped [ROWS EXPERTS WIDTH EXPERT_WIDTH]      by default 65536 16 2048 1408, shape R1 at batch 8
//
// One line a product; medians of 20 calls after 5. `skewed`: the fullest expert has 8 times the rows of the emptiest.
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "launch/device.hpp"
#include "ops/gpu_kernels.hpp"

namespace {

double median_seconds(const std::function<void()>& body) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  std::vector<double> seconds;
  for (int i = 0; i < 25; ++i) {
    guard.synchronizeDevice(0);
    const auto begin = std::chrono::steady_clock::now();
    for (int j = 0; j < 4; ++j) body();
    guard.synchronizeDevice(0);
    if (i >= 5) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 4);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

} // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, std::int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  const std::int64_t rows = number(1, 65536), experts = number(2, 16), width = number(3, 2048),
                     hidden = number(4, 1408);
  const auto opened = conclave::open_device(conclave::DeviceChoice::cuda, 0, false);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", opened.error().render().c_str());
    return 3;
  }
  std::printf("%s, %lld rows, %lld experts, width %lld, expert width %lld\n", opened->name.c_str(),
              static_cast<long long>(rows), static_cast<long long>(experts), static_cast<long long>(width),
              static_cast<long long>(hidden));
  const conclave::ops::GpuKernels* kernels = conclave::ops::gpu_kernels();
  if (kernels == nullptr || !kernels->has_grouped()) {
    std::fprintf(stderr, "libconclave_cuda.so is missing, or was built without CUTLASS\n");
    return 3;
  }
  for (const bool skewed : {false, true}) {
    std::vector<std::int32_t> ends;
    double total = 0, sum = 0;
    for (std::int64_t e = 0; e < experts; ++e)
      total += skewed ? 1 + 7.0 * static_cast<double>(e) / static_cast<double>(experts - 1) : 1;
    for (std::int64_t e = 0; e < experts; ++e) {
      sum += skewed ? 1 + 7.0 * static_cast<double>(e) / static_cast<double>(experts - 1) : 1;
      ends.push_back(static_cast<std::int32_t>(static_cast<double>(rows) * sum / total + 0.5));
    }
    const at::Tensor offsets = at::tensor(ends, at::kInt).to(at::kCUDA);
    for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
      const auto options = at::TensorOptions().device(at::kCUDA).dtype(type);
      const at::Tensor x = at::randn({rows, width}, options), h = at::randn({rows, 2 * hidden}, options);
      const at::Tensor gate_up = at::randn({experts, 2 * hidden, width}, options);
      const at::Tensor out = at::zeros({experts, 2 * hidden, width}, options.dtype(at::kFloat));
      const double flops = 2.0 * static_cast<double>(rows * width * 2 * hidden);
      const auto line = [&](const char* what, const std::function<void()>& ours, const std::function<void()>& theirs) {
        std::printf("%-9s %-5s %-28s ours %6.1f TFLOP/s, LibTorch %6.1f\n", skewed ? "skewed" : "balanced",
                    type == at::kHalf ? "fp16" : "bf16", what, flops / median_seconds(ours) / 1e12,
                    flops / median_seconds(theirs) / 1e12);
        std::fflush(stdout);
      };
      line(
          "x w^T", [&] { kernels->grouped_product(x, gate_up, offsets, true, h); },
          [&] { at::_grouped_mm(x, gate_up.transpose(1, 2), offsets); });
      line(
          "h w", [&] { kernels->grouped_product(h, gate_up, offsets, false, x); },
          [&] { at::_grouped_mm(h, gate_up, offsets); });
      line(
          "h^T x (theirs not into fp32)", [&] { kernels->grouped_weight_gradient(h, x, offsets, out, false); },
          [&] { at::_grouped_mm(h.t(), x, offsets); });
      line(
          "h^T x added (theirs + add)", [&] { kernels->grouped_weight_gradient(h, x, offsets, out, true); },
          [&] { out.add_(at::_grouped_mm(h.t(), x, offsets)); });
    }
  }
  std::fflush(stdout);
  std::_Exit(0); // the driver's tear-down order is not what is measured
}
