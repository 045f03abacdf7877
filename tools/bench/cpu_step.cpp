// bench_cpu_step: seconds of each training step on the CPU in fp32, for a shape given as JSON.
//
//   bench_cpu_step cpu_step.json STEPS [THREADS]     prints one line: the seconds of each step after one warm-up
//
// What this is: one side of cpu_step_pytorch.py, which runs both in turn and prints the medians. What this is not: a test.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "conclave/random.hpp"
#include "support/plugins_from_json.hpp"
#include "train/step_engine.hpp"

namespace {

using namespace conclave;
using Json = nlohmann::json;

template <class T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "%s\n", result.error().render().c_str());
  std::exit(1);
}

data::HostStep make_step(std::int64_t index, const Json& train) {
  const auto rows = train["rows"].get<std::int64_t>(), length = train["length"].get<std::int64_t>();
  const auto micro_rows = train["micro_rows"].get<std::int64_t>(), vocabulary = train["vocabulary"].get<std::int64_t>();
  const RandomStream stream(1, "bench/" + std::to_string(index));
  data::HostStep step;
  step.batch_index = index;
  step.global_sequences = rows;
  step.global_loss_tokens = rows * length;
  std::uint64_t draw = 0;
  for (std::int64_t first = 0; first < rows; first += micro_rows) {
    data::HostMicroBatch& micro = step.micro_batches.emplace_back();
    micro.rows = micro_rows;
    micro.length = length;
    for (std::int64_t row = 0; row < micro_rows; ++row) {
      micro.domains.push_back(0);
      for (std::int64_t i = 0; i < length; ++i) {
        micro.tokens.push_back(static_cast<std::int64_t>(stream.below(draw++, static_cast<std::uint64_t>(vocabulary))));
        micro.labels.push_back(static_cast<std::int64_t>(stream.below(draw++, static_cast<std::uint64_t>(vocabulary))));
        micro.position_ids.push_back(i);
        micro.loss_mask.push_back(1);
      }
    }
  }
  return step;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_cpu_step SHAPE.json STEPS [THREADS]\n");
    return 2;
  }
  const Json shape = Json::parse(std::ifstream(argv[1]));
  const int steps = std::atoi(argv[2]);
  if (argc > 3) at::set_num_threads(std::atoi(argv[3]));
  const Json& train = shape["train"];
  const auto model = testing::load_plugin<Model>(MODEL_FILE, "model/moe-transformer", shape["model"]);
  StageRequest request;
  request.shape = {train["vocabulary"].get<std::int64_t>(), train["length"].get<std::int64_t>()};
  EngineSettings settings;
  settings.loss.label_smoothing = train["label_smoothing"].get<double>();
  settings.clip_grad_norm = train["clip"].get<double>();
  EngineParts parts;
  parts.stages.push_back(need(model->make_stage(request)));
  parts.optimizer = testing::load_plugin<Optimizer>(OPTIMIZER_FILE, "optimizer/adamw", shape["adamw"]);
  const auto engine = need(make_step_engine(settings, std::move(parts)));
  for (int i = -1; i < steps; ++i) {
    const data::HostStep step = make_step(i + 1, train);
    const auto begin = std::chrono::steady_clock::now();
    need(engine->step(step));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (i >= 0) std::printf("%.6f ", seconds.count());
  }
  std::printf("\n");
  return 0;
}
