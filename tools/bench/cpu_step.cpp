// bench_cpu_step: seconds of each training step on the CPU in fp32, for a shape given as JSON.
//
//   bench_cpu_step MODEL.so OPTIMIZER.so cpu_step.json STEPS [THREADS]   prints one line: the seconds of each step after one
//                                                                         warm-up
//
// What this is: one side of cpu_step_pytorch.py, which runs both in turn and prints the medians. What this is not: a test.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "random_step.hpp"
#include "support/plugins_from_json.hpp"
#include "train/step_engine.hpp"

namespace {

using namespace conclave;

template <class T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "%s\n", result.error().render().c_str());
  std::exit(1);
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: bench_cpu_step MODEL.so OPTIMIZER.so SHAPE.json STEPS [THREADS]\n");
    return 2;
  }
  const auto shape = nlohmann::json::parse(std::ifstream(argv[3]));
  const int steps = std::atoi(argv[4]);
  if (argc > 5) at::set_num_threads(std::atoi(argv[5]));
  const auto& train = shape["train"];
  const auto number = [&](const char* name) { return train[name].get<std::int64_t>(); };
  const bench::StepShape step_shape{number("rows"), number("micro_rows"), number("length"), number("vocabulary")};
  const auto model = testing::load_plugin<Model>(argv[1], "model/moe-transformer", shape["model"]);
  StageRequest request;
  request.shape = {step_shape.vocabulary, step_shape.length};
  EngineSettings settings;
  settings.loss.label_smoothing = train["label_smoothing"].get<double>();
  settings.clip_grad_norm = train["clip"].get<double>();
  EngineParts parts;
  parts.stages.push_back(need(model->make_stage(request)));
  parts.optimizer = testing::load_plugin<Optimizer>(argv[2], "optimizer/adamw", shape["adamw"]);
  const auto engine = need(make_step_engine(settings, std::move(parts)));
  for (int i = -1; i < steps; ++i) {
    const data::HostStep step = bench::random_step(i + 1, step_shape);
    const auto begin = std::chrono::steady_clock::now();
    need(engine->step(step));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (i >= 0) std::printf("%.6f ", seconds.count());
  }
  std::printf("\n");
  return 0;
}
