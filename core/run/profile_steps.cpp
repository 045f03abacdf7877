// Steps by the clock, then under the recorder.

#include "run/profile_steps.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "profile/recorder.hpp"

namespace conclave {
namespace {

constexpr std::int64_t warm_up = 3;

class Steps {
 public:
  Steps(StepEngine& engine, data::Loader& loader) : engine_(engine), loader_(loader) {}

  /// `count` steps; their median in seconds. The engine waits for the device at the end of each.
  Result<double> run(std::int64_t count) {
    std::vector<double> seconds;
    for (std::int64_t i = 0; i < count; ++i) {
      CONCLAVE_ASSIGN(const data::HostStep batch, loader_.next());
      tokens = static_cast<double>(batch.global_loss_tokens);
      const auto begin = std::chrono::steady_clock::now();
      CONCLAVE_ASSIGN(last, engine_.step(batch));
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }

  StepResult last;
  double tokens = 0;

 private:
  StepEngine& engine_;
  data::Loader& loader_;
};

/// The mean over layers of the fullest expert's share over the mean.
double fullest_expert(const StepResult& step) {
  double sum = 0;
  std::size_t layers = 0;
  for (const StepResult::Counter& counter : step.counters) {
    double total = 0;
    for (const double value : counter.values) total += value;
    if (total <= 0) continue;
    sum += *std::max_element(counter.values.begin(), counter.values.end()) *
           static_cast<double>(counter.values.size()) / total;
    ++layers;
  }
  return layers > 0 ? sum / static_cast<double>(layers) : 0;
}

} // namespace

int eager_steps_of_profile(std::int64_t steps) { return static_cast<int>(warm_up + 2 * steps); }

Result<StepProfile> profile_steps(StepEngine& engine, data::Loader& loader, const Device& device,
                                  const ProfileRequest& request) {
  const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(device.index));
  Steps steps(engine, loader);
  StepProfile result;
  CONCLAVE_RETURN_IF_ERROR(steps.run(warm_up).status());
  CONCLAVE_ASSIGN(result.eager_seconds, steps.run(request.steps));
  CONCLAVE_ASSIGN(const profile::Recording recording,
                  profile::record(gpu, request.trace, [&] { return steps.run(request.steps).status(); }));
  result.table = profile::summarise(recording, request.steps);
  CONCLAVE_RETURN_IF_ERROR(steps.run(2).status()); // recorded as a graph, and repeated once
  CONCLAVE_ASSIGN(result.graph_seconds, steps.run(request.steps));
  result.tokens = steps.tokens;
  result.fullest = fullest_expert(steps.last);
  if (!steps.last.applied)
    result.skipped = "the last step changed nothing, so the update is not in these times: its gradient norm was " +
                     std::to_string(steps.last.grad_norm);
  result.ceilings = profile::measure_ceilings(gpu);
  return result;
}

std::string render(const StepProfile& profile, const std::string& device, double flops_per_token) {
  std::string text = device + "\n";
  char line[256];
  std::snprintf(line, sizeof line, "ceilings measured now: %.0f TFLOP/s in bf16 products, %.2f TB/s in copies\n\n",
                profile.ceilings.flops / 1e12, profile.ceilings.bytes / 1e12);
  text += line + render(profile.table, profile.ceilings);
  const auto step = [&](const char* how, double seconds) {
    const double rate = profile.tokens / seconds;
    std::snprintf(line, sizeof line, "%9.2f  a step %s: %.0f tokens/s, %.1f %% of the ceiling\n", 1e3 * seconds, how,
                  rate, profile.ceilings.flops > 0 ? 100 * rate * flops_per_token / profile.ceilings.flops : 0);
    text += line;
  };
  step("kernel by kernel", profile.eager_seconds);
  step("as the run takes it (a CUDA graph unless the log says otherwise)", profile.graph_seconds);
  if (profile.fullest > 0) {
    std::snprintf(line, sizeof line, "%9.2f  times the mean: tokens of the fullest expert, mean over layers\n",
                  profile.fullest);
    text += line;
  }
  if (!profile.skipped.empty()) text += "warning: " + profile.skipped + "\n";
  return text;
}

std::string to_json(const StepProfile& profile, const std::string& device, double flops_per_token) {
  nlohmann::json json = nlohmann::json::parse(to_json(profile.table, profile.ceilings));
  json["device"] = device;
  json["tokens"] = profile.tokens;
  json["flops_per_token"] = flops_per_token;
  json["eager_seconds"] = profile.eager_seconds;
  json["graph_seconds"] = profile.graph_seconds;
  json["fullest_expert"] = profile.fullest;
  json["applied"] = profile.skipped.empty();
  return json.dump(2) + "\n";
}

} // namespace conclave
