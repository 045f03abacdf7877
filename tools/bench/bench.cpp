// Clocks of the GPU and of the host, and the two ceilings.

#include "bench.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <utility>

namespace conclave::bench {
namespace {

constexpr int warm_up = 2;
at::DeviceIndex gpu = 0;

void wait() { c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(gpu); }

std::int64_t allocated(bool peak) {
  const auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(gpu);
  const auto& bytes = stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
  return peak ? bytes.peak : bytes.current;
}

} // namespace

void fail(const Error& error) {
  std::fprintf(stderr, "%s\n", error.render().c_str());
  std::exit(exit_code(error.code));
}

void need(const Status& status) {
  if (!status.ok()) fail(status.error());
}

Device open_gpu() {
  const OpenedDevice opened = need(open_device(DeviceChoice::cuda, 0, false));
  gpu = static_cast<at::DeviceIndex>(opened.device.index);
  std::printf("gpu %s\n", opened.name.c_str());
  return opened.device;
}

void run_and_exit(const std::function<void()>& body) {
  int code = 0;
  try {
    body();
  } catch (const std::exception& e) {
    const std::string what = e.what(); // c10's have a stack trace after the first line
    std::fprintf(stderr, "%s\n", what.substr(0, what.find('\n')).c_str());
    code = 1;
  }
  std::fflush(stdout);
  std::_Exit(code);
}

void figure(const std::string& name, double value, const std::string& unit, int n) {
  std::printf("figure %s = %.6g %s (n=%d)\n", name.c_str(), value, unit.c_str(), n);
  std::fflush(stdout);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<double> gpu_seconds_in_turn(int repeat, int calls, const std::vector<std::function<void()>>& bodies) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const c10::Stream stream = guard.getStream({at::kCUDA, gpu});
  std::vector<std::vector<double>> seconds(bodies.size());
  for (int i = 0; i < repeat + warm_up; ++i) {
    for (std::size_t b = 0; b < bodies.size(); ++b) {
      c10::Event begin(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT), end(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
      begin.record(stream);
      for (int j = 0; j < calls; ++j) bodies[b]();
      end.record(stream);
      wait();
      if (i >= warm_up) seconds[b].push_back(begin.elapsedTime(end) / 1e3 / calls);
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& of_one : seconds) medians.push_back(median(std::move(of_one)));
  return medians;
}

double gpu_seconds(int repeat, int calls, const std::function<void()>& body) {
  return gpu_seconds_in_turn(repeat, calls, {body})[0];
}

double host_seconds(int repeat, const std::function<void()>& body) {
  std::vector<double> seconds;
  for (int i = 0; i < repeat + warm_up; ++i) {
    wait();
    const auto begin = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (i >= warm_up) seconds.push_back(taken.count());
  }
  wait();
  return median(std::move(seconds));
}

double matmul_ceiling(int repeat) {
  double best = 0;
  for (const std::int64_t n : {4096, 8192, 16384}) {
    const at::Tensor a = at::randn({n, n}, at::TensorOptions().device(at::kCUDA, gpu).dtype(at::kBFloat16)),
                     b = at::randn_like(a);
    const int products = n < 16384 ? 20 : 4; // enough that the clocks are those of load
    for (const auto& [left, right] : {std::pair(a, b), std::pair(a, b.t()), std::pair(a.t(), b)})
      best = std::max(best, 2.0 * static_cast<double>(n * n * n) /
                                gpu_seconds(repeat, products, [&, &l = left, &r = right] { at::mm(l, r); }));
  }
  return best;
}

double copy_bandwidth(int repeat) {
  const at::Tensor from =
      at::empty({std::int64_t{1} << 30}, at::TensorOptions().device(at::kCUDA, gpu).dtype(at::kByte));
  const at::Tensor to = at::empty_like(from);
  return 2 * static_cast<double>(from.numel()) / gpu_seconds(repeat, 4, [&] { to.copy_(from); });
}

std::int64_t peak_bytes() { return allocated(true); }
std::int64_t bytes_in_use() { return allocated(false); }
void forget_peak() { c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(gpu); }

nlohmann::json read_shape(const std::string& file, const std::string& name) {
  const auto shapes = nlohmann::json::parse(std::ifstream(file), nullptr, false);
  if (shapes.is_discarded()) fail(invalid("the file is missing or no JSON", "name gpu_shapes.json", file));
  if (!shapes.contains(name)) fail(invalid("there is no shape `" + name + "`", "name one that is there", file));
  return shapes[name];
}

} // namespace conclave::bench
