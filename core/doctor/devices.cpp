// Copies of tensors: LibTorch's CUDA half does the work.

#include "doctor/devices.hpp"

#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <chrono>
#include <exception>

#include "launch/device.hpp"

namespace conclave::doctor {
namespace {

constexpr std::int64_t copied = 256'000'000; ///< bytes: far more than a cache holds
constexpr int copies = 10;

/// Bytes a second of copies between two tensors, each of which has been made once before.
double copy_rate(const at::Tensor& to, const at::Tensor& from) {
  const at::CUDAHooksInterface& cuda = at::detail::getCUDAHooks();
  const auto synchronize = [&] {
    cuda.deviceSynchronize(from.device().index());
    cuda.deviceSynchronize(to.device().index());
  };
  to.copy_(from);
  synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < copies; ++i) to.copy_(from, /*non_blocking=*/true);
  synchronize();
  return copies * static_cast<double>(copied) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

at::Tensor filled(int gpu, int value) {
  return at::full({copied}, value,
                  at::device(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu))).dtype(at::kByte));
}

Check gpu_rate_check(const std::string& name, const std::vector<double>& rates, const std::optional<double>& wanted,
                     const std::string& advice) {
  const auto [slowest, fastest] = std::minmax_element(rates.begin(), rates.end());
  std::string figure = number_text(*slowest / 1e9) + " GB/s";
  if (rates.size() > 1)
    figure +=
        " to " + number_text(*fastest / 1e9) + " GB/s, GPU " + std::to_string(slowest - rates.begin()) + " the slowest";
  if (wanted) return at_least(name, *slowest / 1e9, *wanted, figure, number_text(*wanted) + " GB/s", advice);
  constexpr double like = 0.8; // of the fastest
  if (*slowest < like * *fastest) return {name, Verdict::warn, figure, "one GPU is slower than the others: " + advice};
  return {name, Verdict::ok, figure, ""};
}

} // namespace

DeviceFacts read_devices() {
  DeviceFacts facts;
  if (const auto opened = open_device(DeviceChoice::cuda, 0, false); !opened.ok()) {
    facts.error = opened.error();
    return facts;
  }
  try {
    const int gpus = at::detail::getCUDAHooks().deviceCount();
    for (int gpu = 0; gpu < gpus; ++gpu) {
      const at::Tensor from = filled(gpu, gpu + 1), to = filled(gpu, 0);
      facts.copy.push_back(2 * copy_rate(to, from)); // read and written
      facts.damaged = facts.damaged || !to.equal(from);
      if (gpus < 2) continue;
      const at::Tensor next = filled((gpu + 1) % gpus, 0);
      facts.peer.push_back(copy_rate(next, from));
      facts.damaged = facts.damaged || !next.cpu().equal(from.cpu());
    }
  } catch (const std::exception& problem) {
    const std::string text = problem.what();
    facts.error = unsupported(text.substr(0, text.find('\n')), "`nvidia-smi` may say more");
  }
  return facts;
}

Checks judge_devices(const DeviceFacts& facts, const Expectation& expected) {
  if (facts.error) return {{"GPU copies", Verdict::fail, facts.error->what, facts.error->fix}};
  if (facts.copy.empty()) return {};
  Checks checks = {
      gpu_rate_check("GPU copies", facts.copy, expected.gpu_copy_GBps, "look at its clocks and memory errors")};
  if (!facts.peer.empty())
    checks.push_back(gpu_rate_check("peer copies", facts.peer, expected.peer_GBps, "look at NVLink and peer access"));
  if (facts.damaged)
    checks.push_back({"GPU copies", Verdict::fail, "other bytes came out than went in", "replace the GPU"});
  return checks;
}

} // namespace conclave::doctor
