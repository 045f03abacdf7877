// One stopwatch, and what is put on it.

#include "plan/calibrate.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "conclave/ops/attention.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/ops/linear.hpp"

namespace conclave::plan {
namespace {

constexpr int measured_rounds = 5;
constexpr double round_seconds = 0.03; ///< each round repeats its call for so long
constexpr double longest_call = 0.5;   ///< no larger size is tried after a call of that long

class Stopwatch {
 public:
  explicit Stopwatch(at::Device device) : device_(device) {}

  void finish() const {
    if (device_.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device_.index());
  }

  /// Seconds of a call among many like it: the median of some rounds.
  [[nodiscard]] double seconds(const std::function<void()>& call) const {
    call(); // kernels are chosen and loaded
    const double once = timed(call, 1);
    const int times = std::clamp(static_cast<int>(round_seconds / once), 1, 1000);
    std::vector<double> each;
    for (int round = 0; round < measured_rounds; ++round) each.push_back(timed(call, times));
    std::nth_element(each.begin(), each.begin() + measured_rounds / 2, each.end());
    return each[measured_rounds / 2];
  }

 private:
  [[nodiscard]] double timed(const std::function<void()>& call, int times) const {
    finish();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) call();
    finish();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / times;
  }

  at::Device device_;
};

class Calibration {
 public:
  explicit Calibration(const Device& device)
      : gpu_(device.kind == Device::Kind::cuda),
        device_(gpu_ ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index)) : at::Device(at::kCPU)),
        watch_(device_) {}

  ByteRate memory_bandwidth() const {
    const at::Tensor from = at::ones({256'000'000}, options(at::kByte)), to = at::empty_like(from);
    return {2.0 * static_cast<double>(from.nbytes()) / watch_.seconds([&] { to.copy_(from); })};
  }

  Latency kernel() const {
    const at::Tensor tiny = at::zeros({256}, options(at::kFloat));
    return {watch_.seconds([&] { tiny.add_(1); })};
  }

  Latency host_wait() const {
    const at::Tensor tiny = at::zeros({256}, options(at::kFloat));
    return {watch_.seconds([&] {
      tiny.add_(1);
      watch_.finish();
    })};
  }

  /// Of a tiny product with its two gradients.
  Latency host_operator() const {
    const at::Tensor x = at::ones({16, 16}, options(at::kFloat)).requires_grad_();
    const BoundParam weight{at::ones({16, 16}, options(at::kFloat)).requires_grad_(), nullptr};
    const at::Tensor seed = at::ones({16, 16}, options(at::kFloat));
    return {watch_.seconds([&] { torch::autograd::grad({ops::linear(x, weight)}, {x, weight.value}, {seed}); }) / 3};
  }

  TypeRates rates(at::ScalarType type, ByteRate memory) const {
    TypeRates rates;
    rates.product = products(type);
    for (const auto& [flops, rate] : rates.product.points()) rates.peak.value = std::max(rates.peak.value, rate);
    rates.grouped_product = experts(type, memory);
    std::tie(rates.attention, rates.attention_backward) = attention(type);
    return rates;
  }

 private:
  [[nodiscard]] at::TensorOptions options(at::ScalarType type) const { return at::device(device_).dtype(type); }

  /// Square ones.
  [[nodiscard]] RateCurve products(at::ScalarType type) const {
    const at::NoGradGuard no_grad;
    std::vector<RateCurve::Point> points;
    for (const std::int64_t n : {128, 256, 512, 1024, 2048, 4096, 8192}) {
      const at::Tensor left = at::randn({n, n}, options(type)), right = at::randn({n, n}, options(type));
      at::Tensor product = at::empty_like(left);
      const double seconds = watch_.seconds([&] { at::matmul_out(product, left, right); });
      const double flops = 2 * std::pow(static_cast<double>(n), 3);
      points.emplace_back(flops, flops / seconds);
      if (8 * seconds > longest_call) break;
    }
    return RateCurve(std::move(points));
  }

  /// Eight experts, each with an eighth of the rows; without the time of the rows that are copied and of the activation.
  [[nodiscard]] RateCurve experts(at::ScalarType type, ByteRate memory) const {
    const at::NoGradGuard no_grad;
    constexpr std::int64_t count = 8, chosen = 2;
    std::vector<RateCurve::Point> points;
    const std::vector<std::int64_t> sizes =
        gpu_ ? std::vector<std::int64_t>{1024, 4096, 16384} : std::vector<std::int64_t>{256, 1024};
    for (const std::int64_t tokens : sizes) {
      const std::int64_t width = gpu_ ? 2048 : 256, hidden = width;
      const at::Tensor x = at::randn({tokens, width}, options(type));
      const at::Tensor weights = at::full({tokens, chosen}, .5, options(at::kFloat));
      const at::Tensor experts =
          (at::arange(tokens, options(at::kLong)).unsqueeze(1) + at::arange(chosen, options(at::kLong)).unsqueeze(0))
              .remainder(count)
              .contiguous();
      const BoundParam gate_up{at::randn({count, 2 * hidden, width}, options(type)), nullptr},
          down{at::randn({count, width, hidden}, options(type)), nullptr};
      const double seconds = watch_.seconds([&] { ops::swiglu_experts(x, weights, experts, gate_up, down); });
      const auto rows = static_cast<double>(tokens * chosen), wide = static_cast<double>(width);
      // Rows are gathered (2), the activation reads 2 and writes 1, and the sum reads a row and writes half of one.
      const double copied = rows * wide * 6.5 * static_cast<double>(x.element_size()) / memory.value;
      const double flops = 2 * rows * wide * static_cast<double>(hidden) * 3;
      // Two products, of two thirds and of one.
      points.emplace_back(flops / 2, flops / std::max(seconds - copied, seconds / 2));
    }
    return RateCurve(std::move(points));
  }

  /// Forward and backward, causal, at the length that is usual there.
  [[nodiscard]] std::pair<RateCurve, RateCurve> attention(at::ScalarType type) const {
    const std::int64_t rows = gpu_ ? 4 : 1, length = gpu_ ? 4096 : 512, heads = gpu_ ? 16 : 4, head = gpu_ ? 128 : 64;
    const auto states = [&] { return at::randn({rows, length, heads, head}, options(type)).requires_grad_(); };
    const at::Tensor query = states(), key = states(), value = states();
    const ops::AttentionMask mask = ops::make_attention_mask(query, {}, 0);
    const at::Tensor seed = at::ones_like(query).detach();
    const double forward = watch_.seconds([&] {
      const at::NoGradGuard no_grad;
      ops::attention(query, key, value, mask);
    });
    const double both = watch_.seconds([&] {
      torch::autograd::grad({ops::attention(query, key, value, mask)}, {query, key, value}, {seed});
    });
    const double flops =
        2.0 * static_cast<double>(rows * heads * head) * static_cast<double>(length) * static_cast<double>(length + 1);
    return {RateCurve::flat({flops / forward}),
            RateCurve::flat({2.5 * flops / std::max(both - forward, forward / 10)})};
  }

  bool gpu_;
  at::Device device_;
  Stopwatch watch_;
};

std::int64_t gpu_memory(int index) {
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(at::kCUDA);
  return static_cast<std::int64_t>(allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(index)).second);
}

std::int64_t host_memory() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::int64_t>(sysconf(_SC_PAGE_SIZE));
}

void write_type(std::string& text, const char* name, const TypeRates& rates) {
  if (!rates.known()) return;
  text +=
      std::string(name) + ":\n  peak: " + plan::text(rates.peak) + "   # the best product; better the maker's figure\n";
  text +=
      "  product: " + plan::text(rates.product) + "\n  grouped_product: " + plan::text(rates.grouped_product) + "\n";
  text += "  attention: " + plan::text(rates.attention) +
          "\n  attention_backward: " + plan::text(rates.attention_backward) + "\n";
}

void write_link(std::string& text, const char* name, const LinkRates& link) {
  if (link.bandwidth.value == 0) return;
  text += std::string(name) + ": {bandwidth: " + plan::text(link.bandwidth) + ", latency: " + plan::text(link.latency) +
          "}\n";
}

} // namespace

Machine measure_device(const OpenedDevice& opened) {
  const Calibration calibration(opened.device);
  Machine machine;
  machine.name = opened.name;
  const bool gpu = opened.device.kind == Device::Kind::cuda;
  machine.gpu_memory = gpu ? gpu_memory(opened.device.index) : host_memory();
  machine.memory_bandwidth = calibration.memory_bandwidth();
  machine.kernel = calibration.kernel();
  machine.host_operator = calibration.host_operator();
  machine.host_wait = calibration.host_wait();
  machine.bf16 = calibration.rates(at::kBFloat16, machine.memory_bandwidth);
  (gpu ? machine.fp16 : machine.fp32) = calibration.rates(gpu ? at::kHalf : at::kFloat, machine.memory_bandwidth);
  return machine;
}

LinkRates measure_link(Group& group, const Device& device) {
  const bool gpu = device.kind == Device::Kind::cuda;
  const at::Device place =
      gpu ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index)) : at::Device(at::kCPU);
  const double ranks = group.size(), hops = 2 * (ranks - 1);
  // Every rank makes as many calls: no round may depend on its own clock.
  const auto seconds = [&](std::int64_t floats, int calls) {
    const at::Tensor tensor = at::zeros({floats}, at::device(place).dtype(at::kFloat));
    const Stopwatch watch(place);
    std::vector<double> each;
    for (int call = 0; call < calls; ++call) {
      watch.finish();
      const auto begin = std::chrono::steady_clock::now();
      group.all_reduce(tensor).wait();
      watch.finish();
      each.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    std::nth_element(each.begin(), each.begin() + calls / 2, each.end());
    return each[static_cast<std::size_t>(calls / 2)];
  };
  const std::int64_t large = gpu ? 64 << 20 : 4 << 20;
  const double small_seconds = seconds(64, 50), large_seconds = seconds(large, 11);
  LinkRates link;
  link.latency.seconds = small_seconds / hops;
  link.bandwidth.value = hops / ranks * 4.0 * static_cast<double>(large) / (large_seconds - small_seconds);
  return link;
}

std::string machine_text(const Machine& machine) {
  std::string text = "# Measured by conclave plan --calibrate.\nname: \"" + machine.name + "\"\n";
  text += "gpu_memory: " + std::to_string(machine.gpu_memory) + "\n";
  text += "gpus_per_node: " + std::to_string(machine.gpus_per_node) + "\n";
  text += "memory_bandwidth: " + plan::text(machine.memory_bandwidth) + "\n";
  text += "kernel: " + plan::text(machine.kernel) + "\nhost_operator: " + plan::text(machine.host_operator) +
          "\nhost_wait: " + plan::text(machine.host_wait) + "\n";
  write_link(text, "within_node", machine.within_node);
  write_link(text, "between_nodes", machine.between_nodes);
  write_type(text, "bf16", machine.bf16);
  write_type(text, "fp16", machine.fp16);
  write_type(text, "fp32", machine.fp32);
  return text;
}

} // namespace conclave::plan
