// torch's profiler, and products and copies against the clock.

#include "profile/recorder.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

namespace conclave::profile {
namespace {

double best_seconds(at::Device device, int repetitions, const std::function<void()>& body) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  double best = 1e9;
  for (int i = 0; i < repetitions; ++i) {
    guard.synchronizeDevice(device.index());
    const auto begin = std::chrono::steady_clock::now();
    body();
    guard.synchronizeDevice(device.index());
    if (i > 0) best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

/// Of the kinds of events (kineto/ActivityType.h) copies, fills and kernels; not annotations and the profiler's own overhead.
bool is_work(std::uint8_t kind) { return kind >= 3 && kind <= 5; }

} // namespace

Result<Recording> record(at::Device device, const std::filesystem::path& trace, const std::function<Status()>& body) {
  namespace profiler = torch::autograd::profiler;
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO, /*report_input_shapes=*/true);
  const std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU, profiler::ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  const Status status = body();
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
  const auto result = profiler::disableProfiler();
  CONCLAVE_RETURN_IF_ERROR(status);

  Recording recording;
  std::map<std::uint64_t, std::int64_t> calls; // by correlation
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CPU || event.correlationId() == 0) continue;
    calls[event.correlationId()] = static_cast<std::int64_t>(recording.calls.size());
    Call call{event.name(), {}, {}};
    if (event.hasShapes()) call.shapes = event.shapes().vec();
    if (event.hasTypes()) call.types = event.dtypes().vec();
    recording.calls.push_back(std::move(call));
  }
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA || !is_work(event.activityType())) continue;
    Span span{event.name(), static_cast<double>(event.startNs()) / 1e3, static_cast<double>(event.endNs()) / 1e3, -1};
    if (const auto call = calls.find(event.linkedCorrelationId()); call != calls.end()) span.call = call->second;
    recording.spans.push_back(std::move(span));
  }
  if (!trace.empty()) result->save(trace.string());
  return recording;
}

Ceilings measure_ceilings(at::Device device) {
  Ceilings ceilings;
  for (const std::int64_t n : {4096, 8192}) {
    const at::Tensor a = at::randn({n, n}, at::TensorOptions().device(device).dtype(at::kBFloat16)), b = a.t();
    constexpr int products = 10;
    for (const at::Tensor& right : {a, b}) {
      const double seconds = best_seconds(device, 6, [&] {
        for (int i = 0; i < products; ++i) at::mm(a, right);
      });
      ceilings.flops = std::max(ceilings.flops, products * 2.0 * static_cast<double>(n * n * n) / seconds);
    }
  }
  const at::Tensor from = at::empty({std::int64_t{1} << 30}, at::TensorOptions().device(device).dtype(at::kByte));
  const at::Tensor to = at::empty_like(from);
  ceilings.bytes = 2 * 4 * static_cast<double>(from.numel()) / best_seconds(device, 6, [&] {
                     for (int i = 0; i < 4; ++i) to.copy_(from);
                   });
  return ceilings;
}

} // namespace conclave::profile
