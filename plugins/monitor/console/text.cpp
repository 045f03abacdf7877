// Formatting.

#include "text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace conclave::console {
namespace {

template <class... A>
std::string format(const char* pattern, A... arguments) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, pattern, arguments...);
  return buffer;
}

const Metric* find(const std::vector<Metric>& metrics, const char* name) {
  for (const Metric& metric : metrics)
    if (metric.labels.empty() && metric.name == name) return &metric;
  return nullptr;
}

double percent(const Progress& progress) {
  return progress.total > 0 ? 100.0 * static_cast<double>(progress.step) / static_cast<double>(progress.total) : 0;
}

std::string time_left(const Progress& progress) {
  return progress.step >= progress.total ? "" : "  ETA " + short_time(progress.seconds_left);
}

std::string bar(double share, std::size_t cells, bool unicode) {
  static constexpr const char* eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  share = std::clamp(share, 0.0, 1.0);
  const auto parts = static_cast<std::size_t>(share * static_cast<double>(cells) * 8);
  std::string text;
  for (std::size_t i = 0; i < cells; ++i) {
    if (i < parts / 8)
      text += unicode ? "█" : "#";
    else if (i == parts / 8 && unicode)
      text += eighths[parts % 8];
    else
      text += unicode ? " " : ".";
  }
  return text;
}

} // namespace

std::string short_number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  static constexpr const char* suffixes[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t power = 0;
  // 999.5 and more would print as 1e+03 with three digits.
  while (std::abs(value) >= 999.5 && power + 1 < std::size(suffixes)) {
    value /= 1000;
    ++power;
  }
  return format("%.3g%s", value, suffixes[power]);
}

std::string short_time(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const long long whole = std::llround(seconds);
  if (whole < 60) return format("%llds", whole);
  if (whole < 3600) return format("%lldm%02llds", whole / 60, whole % 60);
  if (whole < 86400) return format("%lldh%02lldm", whole / 3600, whole / 60 % 60);
  return format("%lldd%02lldh", whole / 86400, whole / 3600 % 24);
}

std::string step_text(const StepReport& report, const Progress& progress) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "  ") + part; };
  const auto& metrics = report.metrics;
  if (const Metric* loss = find(metrics, "loss")) add(format("loss %.4f", loss->value));
  if (const Metric* nll = find(metrics, "nll")) add(format("nll %.4f", nll->value));
  if (const Metric* rate = find(metrics, "learning_rate")) add(format("lr %.2e", rate->value));
  if (const Metric* norm = find(metrics, "grad_norm")) add(format("grad %.3g", norm->value));
  if (const Metric* scale = find(metrics, "loss_scale"); scale && scale->value != 1)
    add("scale " + short_number(scale->value));
  if (progress.tokens_per_second > 0) add(short_number(progress.tokens_per_second) + " tok/s");
  if (const Metric* applied = find(metrics, "applied"); applied && applied->value == 0) add("SKIPPED");
  return text;
}

std::string progress_line(const StepReport& report, const Progress& progress, std::size_t width, bool unicode) {
  const std::string head = format("%3.0f%% ", std::floor(percent(progress)));
  const std::string counts = " " + std::to_string(progress.step) + "/" + std::to_string(progress.total) + "  ";
  std::string tail = counts + step_text(report, progress) + time_left(progress);
  constexpr std::size_t least_bar = 5, most_bar = 30;
  if (head.size() + tail.size() > width) return (head + tail.substr(1)).substr(0, width);
  const std::size_t room = width - head.size() - tail.size();
  if (room < least_bar + 2) return head + tail.substr(1);
  return head + "|" + bar(percent(progress) / 100, std::min(most_bar, room - 2), unicode) + "|" + tail;
}

std::string plain_line(const StepReport& report, const Progress& progress) {
  return format("step %lld/%lld (%.1f%%)  ", static_cast<long long>(progress.step),
                static_cast<long long>(progress.total), percent(progress)) +
         step_text(report, progress) + time_left(progress);
}

std::string evaluation_table(const EvaluationReport& report) {
  std::vector<std::string> columns, rows; // in the order of their arrival
  std::map<std::pair<std::string, std::string>, double> cells;
  const auto note = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  const std::string all = "all";
  for (const Metric& metric : report.metrics) {
    if (metric.labels.size() > 1 || (metric.labels.size() == 1 && metric.labels[0].first != "domain")) continue;
    const std::string& row = metric.labels.empty() ? all : metric.labels[0].second;
    const std::string column = metric.name.starts_with("eval_") ? metric.name.substr(5) : metric.name;
    note(columns, column);
    if (row != all) note(rows, row);
    cells[{row, column}] = metric.value;
  }
  rows.push_back(all);
  std::size_t first = std::string("held-out").size();
  for (const std::string& row : rows) first = std::max(first, row.size());
  const auto pad = [](std::string text, std::size_t size) {
    return text.append(size > text.size() ? size - text.size() : 0, ' ');
  };

  std::string text =
      format("evaluation after step %lld\n", static_cast<long long>(report.step)) + "  " + pad("held-out", first);
  for (const std::string& column : columns)
    text += "  " + std::string(column.size() < 10 ? 10 - column.size() : 0, ' ') + column;
  text += "\n";
  for (const std::string& row : rows) {
    text += "  " + pad(row, first);
    for (const std::string& column : columns) {
      const auto cell = cells.find({row, column});
      std::string value;
      if (cell != cells.end())
        value = std::abs(cell->second) >= 1e5 ? short_number(cell->second)
                : cell->second == std::floor(cell->second) && std::abs(cell->second) > 99
                    ? format("%.0f", cell->second)
                    : format("%.4f", cell->second);
      const std::size_t size = std::max<std::size_t>(10, column.size());
      text += "  " + std::string(value.size() < size ? size - value.size() : 0, ' ') + value;
    }
    text += "\n";
  }
  return text;
}

} // namespace conclave::console
