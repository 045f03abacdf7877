// bench_gpu_train: whole training steps of the real engine on one GPU: micro-batches, norm, clip, AdamW with fp32 masters, and in
// fp16 the loss scale.
//
//   bench_gpu_train MODEL.so OPTIMIZER.so gpu_shapes.json [--shape r1] [--micro-batches 4] [--fp16]
//
// Steps kernel by kernel come first, then the same as one CUDA graph, as a run takes them. The update (norm, clip, optimizer) is
// timed in the former, between waits for the GPU, and in bf16 only. In fp16 steps that overflow are left out: they update nothing.
#include <c10/core/impl/VirtualGuardImpl.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>

#include "bench.hpp"
#include "random_step.hpp"
#include "support/plugins_from_json.hpp"
#include "train/step_engine.hpp"

namespace {

using namespace conclave;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string model, optimizer, shapes, shape = "r1";
  std::int64_t micro_batches = 4;
  int repeat = 5;
  bool fp16 = false;
};

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Where the host and the GPU were during a step, by segment.
struct Segments {
  bool wait = false;                 ///< for the GPU at the end of each
  Clock::time_point last;            ///< end of the last wait
  std::map<std::string, double> gpu; ///< seconds of the segments that were waited for
  double host = 0;                   ///< seconds of all but `read`, which waits for the GPU itself

  void heard(const std::string& name, Clock::time_point begin, Clock::time_point end) {
    if (name != "read") host += std::chrono::duration<double>(end - begin).count();
    if (!wait) return;
    c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(0);
    gpu[name] = seconds_since(last);
    last = Clock::now();
  }
};

struct Timed {
  double seconds = 0, host = 0, update = 0; ///< medians
};

class Steps {
 public:
  Steps(StepEngine& engine, Segments& segments, const bench::StepShape& shape)
      : engine_(engine), segments_(segments), shape_(shape) {}

  /// `count` steps that changed the weights, of at most 4 times as many.
  Timed run(int count, bool wait = false) {
    std::vector<double> seconds, host, update;
    for (int i = 0; i < 4 * count && static_cast<int>(seconds.size()) < count; ++i) {
      const data::HostStep step = bench::random_step(index_++, shape_);
      segments_ = {wait, Clock::now(), {}, 0};
      const auto begin = segments_.last;
      const StepResult result = bench::need(engine_.step(step));
      if (!result.applied) continue;
      seconds.push_back(seconds_since(begin));
      host.push_back(segments_.host);
      update.push_back(segments_.gpu["update"]);
    }
    if (seconds.empty())
      bench::fail(Error{Code::training_failed, "no step changed the weights: each gradient overflowed", "", ""});
    return {bench::median(seconds), bench::median(host), bench::median(update)};
  }

 private:
  StepEngine& engine_;
  Segments& segments_;
  bench::StepShape shape_;
  std::int64_t index_ = 0;
};

void run(const Arguments& arguments) {
  const nlohmann::json shape = bench::read_shape(arguments.shapes, arguments.shape);
  const Device device = bench::open_gpu();
  const auto rows = shape["batch"].get<std::int64_t>(), length = shape["length"].get<std::int64_t>();
  const auto vocabulary = shape["vocabulary"].get<std::int64_t>();

  StageRequest request;
  request.shape = {vocabulary, length};
  request.compute = arguments.fp16 ? at::kHalf : at::kBFloat16;
  request.device = device;
  const auto model = testing::load_plugin<Model>(arguments.model.c_str(), "model/moe-transformer", shape["model"]);
  const ModelSummary summary = bench::need(model->summarize(request.shape, Mesh{}));
  EngineSettings settings;
  settings.device = device;
  settings.compute = request.compute;
  settings.loss_scale.dynamic = arguments.fp16;
  settings.graphs = true;
  settings.eager_steps =
      arguments.fp16 ? 1 : 2 + arguments.repeat; // to warm up, and those in which the update is timed
  settings.graph_note = [](const std::string& why) { std::printf("no CUDA graph: %s\n", why.c_str()); };
  Segments segments;
  settings.segment_hook = [&segments](const std::string& name, Clock::time_point begin, Clock::time_point end) {
    segments.heard(name, begin, end);
  };
  EngineParts parts;
  parts.stages.push_back(bench::need(model->make_stage(request)));
  parts.optimizer = testing::load_plugin<Optimizer>(arguments.optimizer.c_str(), "optimizer/adamw", {{"lr", 1e-4}});
  const auto engine = bench::need(make_step_engine(settings, std::move(parts)));

  Steps steps(*engine, segments, {rows * arguments.micro_batches, rows, length, vocabulary});
  steps.run(2);
  if (!arguments.fp16) bench::figure("update", 1e3 * steps.run(arguments.repeat, true).update, "ms", arguments.repeat);
  steps.run(2); // recorded, and repeated once
  const Timed whole = steps.run(arguments.repeat);
  bench::figure("parameters", static_cast<double>(summary.parameters), "parameters", 1);
  bench::figure("step", 1e3 * whole.seconds, "ms", arguments.repeat);
  bench::figure("rate", static_cast<double>(rows * arguments.micro_batches * length) / whole.seconds, "tokens/s",
                arguments.repeat);
  bench::figure("host", 1e3 * whole.host, "ms", arguments.repeat);
  bench::figure("peak", static_cast<double>(bench::peak_bytes()) / (1 << 30), "GiB", 1);
}

} // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Whole training steps on one GPU", "bench_gpu_train"};
  app.add_option("model", arguments.model, "model-moe-transformer.so")->required();
  app.add_option("optimizer", arguments.optimizer, "optimizer-adamw.so")->required();
  app.add_option("shapes", arguments.shapes, "gpu_shapes.json")->required();
  app.add_option("--shape", arguments.shape, "Which of them")->capture_default_str();
  app.add_option("--micro-batches", arguments.micro_batches, "Of the shape's batch, in a step")->capture_default_str();
  app.add_option("--repeat", arguments.repeat, "Steps that are timed")->capture_default_str();
  app.add_flag("--fp16", arguments.fp16, "fp16 with a loss scale instead of bf16");
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] { run(arguments); });
}
