// metrics.jsonl through simdjson: a long run with the load of every expert is gigabytes.

#include "compare/curves.hpp"

#include <simdjson.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string_view>

namespace conclave::compare {
namespace fs = std::filesystem;
namespace dom = simdjson::dom;

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr std::string_view by_expert = "_by_layer_expert";

/// A number, or what stands for one that JSON lacks: "nan", "inf", "-inf".
double number(dom::element value) {
  double parsed = 0;
  if (value.get_double().get(parsed) == simdjson::SUCCESS) return parsed;
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return unknown;
  return text == "inf" ? HUGE_VAL : text == "-inf" ? -HUGE_VAL : unknown;
}
double number(dom::object row, const char* key) {
  dom::element value;
  return row[key].get(value) == simdjson::SUCCESS ? number(value) : unknown;
}
std::int64_t integer(dom::object row, const char* key, std::int64_t otherwise) {
  std::int64_t value = 0;
  return row[key].get_int64().get(value) == simdjson::SUCCESS ? value : otherwise;
}

/// Layers of experts: the fullest over the mean, and the mean of that over layers.
double imbalance_of(dom::object layers) {
  double sum = 0;
  int counted = 0;
  for (const auto [layer, loads] : layers) {
    dom::object experts;
    if (loads.get_object().get(experts) != simdjson::SUCCESS) continue;
    double most = 0, total = 0;
    int number_of_experts = 0;
    for (const auto [expert, load] : experts) {
      const double value = number(load);
      most = std::max(most, value);
      total += value;
      ++number_of_experts;
    }
    if (!(total > 0)) continue;
    sum += most * number_of_experts / total;
    ++counted;
  }
  return counted > 0 ? sum / counted : unknown;
}

class Reader {
 public:
  void line(const std::string& text) {
    dom::element row;
    dom::object object;
    std::string_view event;
    if (parser_.parse(text).get(row) != simdjson::SUCCESS || row.get_object().get(object) != simdjson::SUCCESS ||
        object["event"].get_string().get(event) != simdjson::SUCCESS) {
      ++curves_.unreadable;
      return;
    }
    if (event == "start") start(object);
    if (event == "step") step(object);
    if (event == "evaluation") evaluation(object);
  }

  Curves finish() && {
    double tokens = 0, seconds = 0;
    for (std::size_t i = 0; i < curves_.step.size(); ++i) {
      // A run that began at another run's checkpoint: what came before is reckoned at the first step's rate.
      if (i == 0 && curves_.step[0] > 1) tokens = static_cast<double>(curves_.step[0] - 1) * curves_.tokens[0];
      if (std::isfinite(curves_.tokens[i])) tokens += curves_.tokens[i];
      if (std::isfinite(curves_.hours[i])) seconds += curves_.hours[i];
      curves_.tokens[i] = tokens;
      curves_.hours[i] = seconds / 3600;
    }
    return std::move(curves_);
  }

 private:
  void start(dom::object row) {
    ++curves_.attempts;
    curves_.schema = integer(row, "schema", 0);
    curves_.active_parameters = integer(row, "active_parameters", 0);
    drop_after(integer(row, "first_step", 0));
  }

  void drop_after(std::int64_t step) {
    while (!curves_.step.empty() && curves_.step.back() > step) {
      for (auto* values : {&curves_.tokens, &curves_.hours, &curves_.loss, &curves_.nll, &curves_.learning_rate,
                           &curves_.grad_norm, &curves_.tokens_per_second, &curves_.imbalance})
        values->pop_back();
      curves_.step.pop_back();
      ++curves_.superseded;
    }
    while (!curves_.evaluations.empty() && curves_.evaluations.back().step > step) curves_.evaluations.pop_back();
  }

  void step(dom::object row) {
    const std::int64_t step = integer(row, "step", 0);
    if (step <= 0) {
      ++curves_.unreadable;
      return;
    }
    drop_after(step - 1);
    curves_.step.push_back(step);
    curves_.tokens.push_back(number(row, "tokens"));
    curves_.hours.push_back(number(row, "step_seconds")); // both summed up by finish()
    curves_.loss.push_back(number(row, "loss"));
    curves_.nll.push_back(number(row, "nll"));
    curves_.learning_rate.push_back(number(row, "learning_rate"));
    curves_.grad_norm.push_back(number(row, "grad_norm"));
    curves_.tokens_per_second.push_back(number(row, "tokens_per_second"));
    double imbalance = unknown;
    for (const auto [key, value] : row) {
      dom::object layers;
      if (key.ends_with(by_expert) && value.get_object().get(layers) == simdjson::SUCCESS)
        imbalance = imbalance_of(layers);
    }
    curves_.imbalance.push_back(imbalance);
  }

  void evaluation(dom::object row) {
    Evaluated evaluated{integer(row, "step", 0), {number(row, "eval_nll"), number(row, "eval_bits_per_byte")}, {}};
    const auto domains = [&](const char* key, double DomainScore::*member) {
      dom::object values;
      if (row[key].get_object().get(values) != simdjson::SUCCESS) return;
      for (const auto [domain, value] : values)
        evaluated.domains.try_emplace(std::string(domain), DomainScore{unknown, unknown}).first->second.*member =
            number(value);
    };
    domains("eval_nll_by_domain", &DomainScore::nll);
    domains("eval_bits_per_byte_by_domain", &DomainScore::bits_per_byte);
    auto& all = curves_.evaluations;
    while (!all.empty() && all.back().step >= evaluated.step) all.pop_back();
    all.push_back(std::move(evaluated));
  }

  dom::parser parser_;
  Curves curves_;
};

bool begins_with_a_start(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  return std::getline(in, line) && line.find("\"event\":\"start\"") != std::string::npos;
}

fs::path metrics_file(const fs::path& directory) {
  std::error_code error;
  const fs::path usual = directory / "metrics.jsonl";
  if (fs::exists(usual, error)) return usual;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (entry.path().extension() == ".jsonl" && begins_with_a_start(entry.path())) return entry.path();
  return {};
}

} // namespace

Curves read_curves(const fs::path& run_directory) {
  Reader reader;
  std::ifstream in(metrics_file(run_directory), std::ios::binary);
  // A last line without its newline is being written or was torn: it counts only when it is whole.
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) reader.line(line);
  return std::move(reader).finish();
}

std::vector<double> trailing_mean(const std::vector<double>& values, std::size_t window) {
  std::vector<double> means(values.size(), unknown);
  std::vector<double> sums(values.size() + 1, 0), counts(values.size() + 1, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool counts_in = std::isfinite(values[i]);
    sums[i + 1] = sums[i] + (counts_in ? values[i] : 0);
    counts[i + 1] = counts[i] + (counts_in ? 1 : 0);
    const std::size_t begin = i + 1 > window ? i + 1 - window : 0;
    if (counts[i + 1] > counts[begin]) means[i] = (sums[i + 1] - sums[begin]) / (counts[i + 1] - counts[begin]);
  }
  return means;
}

} // namespace conclave::compare
