// bench_gpu_step: forward and backward of a model on one GPU, in bf16 or fp16 with fp32 main gradients and no optimizer.
//
//   bench_gpu_step MODEL.so gpu_shapes.json [--shape r1] [--batch N] [--layers N] [--recompute] [--fp16] [--ceiling]
//
// A step kernel by kernel and as a CUDA graph: tokens a second, the host's time to enqueue it, and the peak of memory. `--trace`
// gets the kernels of one more step (Chrome trace, from torch's profiler). What this is not: a training step; see gpu_train.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench.hpp"
#include "profile/recorder.hpp"
#include "support/plugins_from_json.hpp"
#include "train/buffer_storage.hpp"
#include "train/gradient_adapter.hpp"
#include "train/graph_executor.hpp"
#include "train/storage.hpp"

namespace {

using namespace conclave;

struct Arguments {
  std::string model, shapes, shape = "r1", trace;
  std::int64_t batch = 0, layers = 0;
  int repeat = 10;
  bool recompute = false, fp16 = false, ceiling = false;
};

Batch make_batch(std::int64_t rows, std::int64_t length, std::int64_t vocabulary, at::Device device) {
  const auto integers = at::TensorOptions().device(device).dtype(at::kLong);
  Batch batch;
  batch.tokens = at::randint(vocabulary, {rows, length}, integers);
  batch.labels = at::randint(vocabulary, {rows, length}, integers);
  batch.loss_mask = at::ones({rows, length}, integers.dtype(at::kBool));
  batch.position_ids = at::arange(length, integers).expand({rows, length}).contiguous();
  batch.domains = at::zeros({rows}, integers);
  batch.global_loss_tokens = rows * length;
  batch.global_sequences = rows;
  return batch;
}

void run(const Arguments& arguments) {
  nlohmann::json shape = bench::read_shape(arguments.shapes, arguments.shape);
  const Device opened = bench::open_gpu();
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(opened.index));
  const double ceiling = arguments.ceiling ? bench::matmul_ceiling(5) : 0;
  if (arguments.layers > 0) shape["model"]["layers"] = arguments.layers;
  const auto rows = arguments.batch > 0 ? arguments.batch : shape["batch"].get<std::int64_t>();
  const auto length = shape["length"].get<std::int64_t>(), vocabulary = shape["vocabulary"].get<std::int64_t>();
  const auto model = testing::load_plugin<Model>(arguments.model.c_str(), "model/moe-transformer", shape["model"]);

  StageRequest request;
  request.shape = {vocabulary, length};
  request.compute = arguments.fp16 ? at::kHalf : at::kBFloat16;
  request.recompute = arguments.recompute ? Recompute::layer : Recompute::none;
  request.device = opened;
  const auto stage = bench::need(model->make_stage(request));
  const double flops_per_token = 3 * bench::need(model->summarize(request.shape, Mesh{})).forward_flops_per_token;
  const std::vector<StageDescription> chunks{stage->describe()};
  const auto storage = bench::need(train::ParameterStorage::make(
      chunks, {.device = device, .master = at::kFloat, .compute = request.compute, .seed = 1}));
  train::BufferStorage buffers(chunks[0], device);
  StageStorage bound;
  for (train::ParameterSlot& slot : storage->slots()) {
    train::attach_gradient_adapter(slot);
    bound.parameters.push_back({slot.value, &slot.sink});
  }
  bound.buffers = buffers.tensors();
  bench::need(stage->bind(std::move(bound)));
  const Batch batch = make_batch(rows, length, vocabulary, device);

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
  bench::figure("flops_per_token", flops_per_token, "FLOP", 1);
  const auto say = [&](const std::string& how, const std::function<void()>& body) {
    const double rate = static_cast<double>(rows * length) / bench::gpu_seconds(arguments.repeat, 1, body);
    bench::figure(how, rate, "tokens/s", arguments.repeat);
    bench::figure(how + ".host", 1e3 * bench::host_seconds(arguments.repeat, body), "ms", arguments.repeat);
    if (ceiling > 0)
      std::printf("%s: %.1f %% of %.1f TFLOP/s\n", how.c_str(), 100 * rate * flops_per_token / ceiling, ceiling / 1e12);
  };
  bench::forget_peak();
  say("eager", step);
  bench::figure("peak", static_cast<double>(bench::peak_bytes()) / (1 << 30), "GiB", 1);
  const auto recorder = bench::need(train::open_cuda_recorder());
  const auto graph = bench::need(recorder->record([&]() -> Status {
    step();
    return {};
  }));
  say("graph", [&] { graph->replay(); });
  if (!arguments.trace.empty())
    bench::need(profile::record(device, arguments.trace, [&]() -> Status {
                  step();
                  return {};
                }).status());
}

} // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Forward and backward of a model on one GPU", "bench_gpu_step"};
  app.add_option("model", arguments.model, "model-moe-transformer.so")->required();
  app.add_option("shapes", arguments.shapes, "gpu_shapes.json")->required();
  app.add_option("--shape", arguments.shape, "Which of them")->capture_default_str();
  app.add_option("--batch", arguments.batch, "Sequences, instead of the shape's");
  app.add_option("--layers", arguments.layers, "Layers, instead of the shape's");
  app.add_option("--repeat", arguments.repeat, "Measurements of each figure")->capture_default_str();
  app.add_flag("--recompute", arguments.recompute, "Keep no activations of a layer");
  app.add_flag("--fp16", arguments.fp16, "fp16 instead of bf16");
  app.add_flag("--ceiling", arguments.ceiling, "Measure the matmul ceiling too");
  app.add_option("--trace", arguments.trace, "File for the kernels of one step");
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] { run(arguments); });
}
