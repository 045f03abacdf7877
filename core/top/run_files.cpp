// Rows of metrics.jsonl, and exit.<rank>.json.

#include "top/run_files.hpp"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>

namespace conclave::top {
namespace {

namespace dom = simdjson::dom;
constexpr std::size_t latest_steps = 50;

double number(const dom::element& value) {
  double out = 0;
  if (value.get(out) == simdjson::SUCCESS) return out;
  std::string_view text; // JSON has no NaN: it is a string, as infinities are
  if (value.get(text) != simdjson::SUCCESS) return std::nan("");
  return text == "inf"    ? std::numeric_limits<double>::infinity()
         : text == "-inf" ? -std::numeric_limits<double>::infinity()
                          : std::nan("");
}

double number(const dom::object& row, std::string_view key) {
  dom::element value;
  return row[key].get(value) == simdjson::SUCCESS ? number(value) : std::nan("");
}

std::int64_t whole(const dom::object& row, std::string_view key, std::int64_t fallback) {
  std::int64_t value = 0;
  return row[key].get(value) == simdjson::SUCCESS ? value : fallback;
}

std::string text(const dom::object& row, std::string_view key) {
  std::string_view value;
  return row[key].get(value) == simdjson::SUCCESS ? std::string(value) : std::string();
}

std::vector<Layer> layers(const dom::object& row) {
  std::vector<Layer> found;
  dom::object by_layer;
  if (row["expert_load_by_layer_expert"].get(by_layer) != simdjson::SUCCESS) return found;
  for (const auto& [name, experts] : by_layer) {
    Layer& layer = found.emplace_back();
    layer.name = std::string(name);
    dom::object loads;
    if (experts.get(loads) != simdjson::SUCCESS) continue;
    double sum = 0, most = 0;
    for (const auto& [expert, load] : loads) {
      layer.load.push_back(number(load));
      sum += layer.load.back();
      most = std::max(most, layer.load.back());
    }
    if (sum > 0) layer.fullest = most * static_cast<double>(layer.load.size()) / sum;
  }
  return found;
}

} // namespace

struct RunFiles::Parser {
  dom::parser json;
};

RunFiles::RunFiles(std::filesystem::path directory)
    : directory_(std::move(directory)), parser_(std::make_unique<Parser>()) {}
RunFiles::~RunFiles() = default;

void RunFiles::take(const std::string& line, View& view) {
  dom::object row;
  if (parser_->json.parse(line).get(row) != simdjson::SUCCESS) return; // a line that a kill tore, say
  const std::string event = text(row, "event");
  if (event == "start") {
    view.name = text(row, "name");
    view.total_steps = whole(row, "total_steps", 0);
    view.attempt = whole(row, "attempt", 0);
    view.ranks = static_cast<int>(whole(row, "world_size", 1));
    view.step = whole(row, "first_step", 0);
    view.exit_code.reset();
    while (!view.points.empty() && view.points.back().step > view.step) view.points.pop_back();
    seconds_.clear();
  } else if (event == "step") {
    view.step = whole(row, "step", view.step);
    view.points.push_back({view.step, number(row, "loss"), number(row, "learning_rate"),
                           number(row, "tokens_per_second"), number(row, "grad_norm")});
    last_step_ = line;
    view.data_wait_seconds = number(row, "data_wait_seconds");
    if (const double took = number(row, "step_seconds"); std::isfinite(took)) seconds_.push_back(took);
    if (seconds_.size() > 2 * latest_steps) seconds_.erase(seconds_.begin(), seconds_.end() - latest_steps);
  } else if (event == "evaluation") {
    dom::object domains;
    if (row["eval_nll_by_domain"].get(domains) != simdjson::SUCCESS) return;
    view.held_out.clear();
    for (const auto& [domain, nll] : domains) view.held_out[std::string(domain)] = number(nll);
  } else if (event == "checkpoint") {
    view.checkpoint = whole(row, "step", 0);
  } else if (event == "finish") {
    view.exit_code = static_cast<int>(whole(row, "exit_code", 0));
  }
}

void RunFiles::read_exits(View& view) const {
  view.ended.clear();
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, ignored)) {
    const std::string name = entry.path().filename().string(), begin = "exit.", end = ".json";
    if (!name.starts_with(begin) || !name.ends_with(end)) continue;
    int rank = 0;
    const char* last = name.data() + name.size() - end.size();
    if (std::from_chars(name.data() + begin.size(), last, rank).ptr != last) continue;
    dom::object row;
    if (parser_->json.load(entry.path().string()).get(row) != simdjson::SUCCESS) continue;
    if (whole(row, "attempt", view.attempt) < view.attempt) continue;
    view.ended[rank] = std::to_string(whole(row, "code", 0)) + ": " + text(row, "reason");
    // A run without the monitor's last row, because it was lost or killed, has this.
    if (rank == 0 && !view.exit_code) view.exit_code = static_cast<int>(whole(row, "code", 0));
  }
}

Status RunFiles::refresh(View& view) {
  const auto file = directory_ / "metrics.jsonl";
  std::error_code failed;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(file, failed));
  if (failed)
    return storage_error("there is no " + file.filename().string() + " in it",
                         "name a run directory whose run has the jsonl monitor and has begun to train",
                         directory_.string());
  if (size < read_) read_ = 0, view = View(), seconds_.clear(); // another run took the folder
  std::ifstream rows(file, std::ios::binary);
  rows.seekg(read_);
  for (std::string line; std::getline(rows, line) && !rows.eof();) {
    read_ += static_cast<std::int64_t>(line.size()) + 1;
    take(line, view);
  }
  if (dom::object row; !last_step_.empty() && parser_->json.parse(last_step_).get(row) == simdjson::SUCCESS)
    view.experts = layers(row); // thousands of numbers in a row: of the last one alone
  last_step_.clear();
  if (!seconds_.empty()) {
    std::vector<double> latest(seconds_.end() - static_cast<std::ptrdiff_t>(std::min(seconds_.size(), latest_steps)),
                               seconds_.end());
    const auto middle = latest.begin() + static_cast<std::ptrdiff_t>(latest.size() / 2);
    std::nth_element(latest.begin(), middle, latest.end());
    view.step_seconds = *middle;
  }
  const auto written = std::filesystem::last_write_time(file, failed);
  if (!failed)
    view.silent_seconds =
        std::max(0.0, std::chrono::duration<double>(std::filesystem::file_time_type::clock::now() - written).count());
  read_exits(view);
  return {};
}

} // namespace conclave::top
