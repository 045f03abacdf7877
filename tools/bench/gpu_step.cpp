// bench_gpu_step: tokens a second of forward and backward (bf16, fp32 main gradients, no optimizer) of a model on one GPU,
// beside the matmul ceiling of the same GPU measured in the same run.
//
//   bench_gpu_step MODEL.so BATCH LENGTH [recompute|keep] [LAYERS] [TRACE.json]
//
// Shape R1 otherwise: 24 layers, width 2048, 16 heads and 4 kv heads of 128, 16 experts top-2 of 1408, vocabulary 32000.
// TRACE.json gets the kernels of one more repetition (Chrome trace, from torch's profiler).
//
// Prints one line a figure; times are medians of 10 repetitions after 3. What this is not: a training run; see cpu_step for
// whole steps.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "conclave/testkit.hpp"
#include "launch/device.hpp"
#include "train/buffer_storage.hpp"
#include "train/gradient_adapter.hpp"
#include "train/graph_executor.hpp"
#include "train/storage.hpp"

namespace {

using namespace conclave;

template <class T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "%s\n", result.error().render().c_str());
  std::exit(exit_code(result.error().code));
}

double median_seconds(at::Device device, const std::function<void()>& body) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  std::vector<double> seconds;
  for (int i = 0; i < 13; ++i) {
    guard.synchronizeDevice(device.index());
    const auto begin = std::chrono::steady_clock::now();
    body();
    guard.synchronizeDevice(device.index());
    if (i >= 3) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

/// The best bf16 matmul of a few sizes and layouts, FLOP/s.
double matmul_ceiling(at::Device device) {
  double best = 0;
  for (const std::int64_t n : {4096, 8192, 16384}) {
    const at::Tensor a = at::randn({n, n}, at::TensorOptions().device(device).dtype(at::kBFloat16)),
                     b = at::randn_like(a);
    const int products = n < 16384 ? 20 : 4; // enough that the clocks are those of load
    const double flops = products * 2.0 * static_cast<double>(n * n * n);
    for (const auto& [left, right] : {std::pair(a, b), std::pair(a, b.t()), std::pair(a.t(), b)})
      best = std::max(best, flops / median_seconds(device, [&, &l = left, &r = right] {
                              for (int i = 0; i < products; ++i) at::mm(l, r);
                            }));
  }
  return best;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_gpu_step MODEL.so BATCH LENGTH [recompute|keep] [LAYERS] [TRACE.json]\n");
    return 2;
  }
  const std::int64_t rows = std::atoll(argv[2]), length = std::atoll(argv[3]), vocabulary = 32000;
  const bool recompute = argc > 4 && std::strcmp(argv[4], "recompute") == 0;
  const OpenedDevice opened = need(open_device(DeviceChoice::cuda, 0, false));
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(opened.device.index));
  const double ceiling = matmul_ceiling(device);
  std::printf("matmul ceiling, bf16: %.1f TFLOP/s\n", ceiling / 1e12);

  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 3;
  }
  testkit::FakeHost host;
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, plugin_entry_symbol));
  std::vector<Value::Member> with;
  const auto option = [&with](const char* name, const char* text) { with.push_back({name, {}, Value::scalar(text)}); };
  option("layers", argc > 5 ? argv[5] : "24");
  option("width", "2048");
  option("heads", "16");
  option("kv_heads", "4");
  option("head_width", "128");
  option("experts", "16");
  option("top_k", "2");
  option("expert_width", "1408");
  const auto model =
      need(testkit::make<Model>(testkit::descriptor_of(entry, "model/moe-transformer"), host, Value::map(with)));

  StageRequest request;
  request.shape = {vocabulary, length};
  request.compute = at::kBFloat16;
  request.recompute = recompute ? Recompute::layer : Recompute::none;
  request.device = opened.device;
  const auto stage = need(model->make_stage(request));
  const auto summary = need(model->summarize(request.shape, Mesh{}));
  const std::vector<StageDescription> chunks{stage->describe()};
  const auto storage = need(train::ParameterStorage::make(
      chunks, {.device = device, .master = at::kFloat, .compute = at::kBFloat16, .seed = 1}));
  train::BufferStorage buffers(chunks[0], device);
  StageStorage bound;
  for (train::ParameterSlot& slot : storage->slots()) {
    train::attach_gradient_adapter(slot);
    bound.parameters.push_back({slot.value, &slot.sink});
  }
  bound.buffers = buffers.tensors();
  if (const Status status = stage->bind(std::move(bound)); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.error().render().c_str());
    return 1;
  }

  const auto integers = at::TensorOptions().device(device).dtype(at::kLong);
  Batch batch;
  batch.tokens = at::randint(vocabulary, {rows, length}, integers);
  batch.labels = at::randint(vocabulary, {rows, length}, integers);
  batch.loss_mask = at::ones({rows, length}, integers.dtype(at::kBool));
  batch.position_ids = at::arange(length, integers).expand({rows, length}).contiguous();
  batch.domains = at::zeros({rows}, integers);
  batch.global_loss_tokens = rows * length;
  batch.global_sequences = rows;

  const auto step = [&] {
    buffers.zero_counters();
    for (train::ParameterSlot& slot : storage->slots()) {
      slot.sink.begin_step();
      slot.sink.begin_last_micro_batch();
    }
    StageInput input;
    input.batch = &batch;
    const StageOutput output = stage->forward(input);
    torch::autograd::variable_list roots, seeds;
    for (const LocalLoss& loss : output.local_losses) {
      if (loss.weight == 0 || !loss.sum.requires_grad()) continue;
      const double normaliser = loss.normaliser == Normaliser::loss_tokens
                                    ? static_cast<double>(batch.global_loss_tokens)
                                    : static_cast<double>(rows);
      roots.push_back(loss.sum);
      seeds.push_back(at::full({}, loss.weight / normaliser, loss.sum.options()));
    }
    torch::autograd::backward(roots, seeds);
  };
  const auto say = [&](const char* how, double seconds) {
    const double tokens = static_cast<double>(rows * length) / seconds;
    const double flops = 3 * summary.forward_flops_per_token * tokens;
    std::printf(
        "R1 forward+backward, bf16, batch %lld x %lld%s, %s: %.1f ms, %.0f tokens/s, %.1f TFLOP/s (%.2f GFLOP a "
        "token), %.1f %% of the ceiling\n",
        static_cast<long long>(rows), static_cast<long long>(length), recompute ? ", recompute" : "", how,
        1e3 * seconds, tokens, flops / 1e12, 3 * summary.forward_flops_per_token / 1e9, 100 * flops / ceiling);
    std::fflush(stdout);
  };
  say("kernel by kernel", median_seconds(device, step));
  {
    const auto recorder = need(train::open_cuda_recorder());
    const auto graph = recorder->record([&]() -> Status {
      step();
      return {};
    });
    if (graph.ok())
      say("CUDA graph", median_seconds(device, [&] { (*graph)->replay(); }));
    else
      std::printf("no CUDA graph: %s\n", graph.error().render().c_str());
  }
  if (argc > 6) {
    namespace profiler = torch::autograd::profiler;
    const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
    const std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU, profiler::ActivityType::CUDA};
    const c10::impl::VirtualGuardImpl guard(device.type());
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities);
    step();
    guard.synchronizeDevice(device.index());
    profiler::disableProfiler()->save(argv[6]);
  }
  std::fflush(stdout);
  std::_Exit(0); // the driver's tear-down order is not what is measured
}
