// Metrics by name.

#include "top/endpoint.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "top/exposition.hpp"
#include "top/http_get.hpp"

namespace conclave::top {
namespace {

constexpr std::chrono::seconds patience{5};

const std::string& label(const Sample& sample, const std::string& name) {
  static const std::string none;
  const auto found = sample.labels.find(name);
  return found == sample.labels.end() ? none : found->second;
}

Layer& layer_of(std::vector<Layer>& layers, const std::string& name) {
  const auto found = std::find_if(layers.begin(), layers.end(), [&](const Layer& layer) { return layer.name == name; });
  if (found != layers.end()) return *found;
  layers.push_back({name, {}, 0});
  return layers.back();
}

} // namespace

void take_page(std::string_view page, double now, View& view) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  Point point{0, none, none, none, none};
  double seconds = 0, steps = 0, last_step = now;
  view.experts.clear();
  for (const Sample& sample : parse_exposition(page)) {
    const std::string& name = sample.name;
    const double value = sample.value;
    if (name == "conclave_run_info") view.name = label(sample, "name");
    if (name == "conclave_step") view.step = point.step = static_cast<std::int64_t>(value);
    if (name == "conclave_target_steps") view.total_steps = static_cast<std::int64_t>(value);
    if (name == "conclave_attempt") view.attempt = static_cast<std::int64_t>(value);
    if (name == "conclave_ranks") view.ranks = static_cast<int>(value);
    if (name == "training_loss") point.loss = value;
    if (name == "learning_rate") point.learning_rate = value;
    if (name == "conclave_tokens_per_second") point.tokens_per_second = value;
    if (name == "conclave_grad_norm") point.grad_norm = value;
    if (name == "conclave_step_duration_seconds_sum") seconds = value;
    if (name == "conclave_step_duration_seconds_count") steps = value;
    if (name == "conclave_data_wait_seconds") view.data_wait_seconds = value;
    if (name == "conclave_last_step_timestamp_seconds") last_step = value;
    if (name == "conclave_checkpoint_last_step") view.checkpoint = static_cast<std::int64_t>(value);
    if (name == "conclave_evaluation_nll_nats" && label(sample, "domain") != "all")
      view.held_out[label(sample, "domain")] = value;
    if (name == "conclave_expert_load_max_ratio") layer_of(view.experts, label(sample, "layer")).fullest = value;
    if (name == "conclave_expert_load_tokens") {
      const auto expert = static_cast<std::size_t>(std::strtoul(label(sample, "expert").c_str(), nullptr, 10));
      std::vector<double>& load = layer_of(view.experts, label(sample, "layer")).load;
      constexpr std::size_t most_experts = 1 << 16;
      if (expert >= most_experts) continue;
      load.resize(std::max(load.size(), expert + 1));
      load[expert] = value;
    }
  }
  std::sort(view.experts.begin(), view.experts.end(), [](const Layer& a, const Layer& b) {
    return std::pair(a.name.size(), a.name) < std::pair(b.name.size(), b.name); // numbers
  });
  if (steps > 0) view.step_seconds = seconds / steps;
  view.silent_seconds = std::max(0.0, now - last_step);
  // A run that went on from an older checkpoint computes steps again.
  while (!view.points.empty() && view.points.back().step > point.step) view.points.pop_back();
  const bool seen = !view.points.empty() && view.points.back().step == point.step;
  if (!seen && std::isfinite(point.loss)) view.points.push_back(point);
}

Status Endpoint::refresh(View& view) {
  CONCLAVE_ASSIGN(const std::string page, http_get(url_, patience));
  if (page.find("conclave_step") == std::string::npos)
    return unsupported("the page has no metrics of a run", "give the address that the run's log names", url_);
  take_page(page, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(), view);
  return {};
}

} // namespace conclave::top
