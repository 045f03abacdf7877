// Sums by operator, and the gaps between spans.

#include "profile/table.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "profile/cost.hpp"

namespace conclave::profile {
namespace {

/// A kernel's name without the template arguments that fill a line.
std::string short_name(const std::string& kernel) {
  constexpr std::size_t most = 64;
  return kernel.size() <= most ? kernel : kernel.substr(0, most - 3) + "...";
}

std::string rate(const Row& row, const Ceilings& ceilings) {
  const double seconds = row.milliseconds / 1e3;
  char text[64] = "";
  if (row.flops > 0 && seconds > 0) {
    std::snprintf(text, sizeof text, "%6.0f TFLOP/s %4.0f %%", row.flops / seconds / 1e12,
                  ceilings.flops > 0 ? 100 * row.flops / seconds / ceilings.flops : 0);
  } else if (row.bytes > 0 && seconds > 0) {
    std::snprintf(text, sizeof text, "%6.2f TB/s    %4.0f %%", row.bytes / seconds / 1e12,
                  ceilings.bytes > 0 ? 100 * row.bytes / seconds / ceilings.bytes : 0);
  }
  return text;
}

} // namespace

Table summarise(const Recording& recording, std::int64_t steps) {
  const double share = 1.0 / static_cast<double>(std::max<std::int64_t>(1, steps));
  std::map<std::string, Row> rows;
  std::set<std::int64_t> counted; // a call may launch several kernels
  for (const Span& span : recording.spans) {
    const Call* call = span.call >= 0 ? &recording.calls[static_cast<std::size_t>(span.call)] : nullptr;
    Row& row = rows[call != nullptr ? call->name : short_name(span.kernel)];
    row.milliseconds += (span.end - span.begin) / 1e3 * share;
    if (call == nullptr) {
      row.calls += share;
    } else if (counted.insert(span.call).second) {
      row.calls += share;
      row.flops += flops_of(*call) * share;
      row.bytes += bytes_of(*call) * share;
    }
  }
  Table table;
  for (auto& [what, row] : rows) {
    row.what = what;
    table.rows.push_back(row);
  }
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [](const Row& a, const Row& b) { return a.milliseconds > b.milliseconds; });

  std::vector<std::pair<double, double>> times;
  for (const Span& span : recording.spans) times.emplace_back(span.begin, span.end);
  std::sort(times.begin(), times.end());
  double end = times.empty() ? 0 : times.front().first;
  for (const auto& [from, to] : times) {
    table.gaps += std::max(0.0, from - end);
    table.busy += std::max(0.0, to - std::max(from, end));
    end = std::max(end, to);
  }
  table.gaps *= share / 1e3;
  table.busy *= share / 1e3;
  table.kernels = static_cast<double>(times.size()) * share;
  return table;
}

std::string render(const Table& table, const Ceilings& ceilings, double least) {
  std::string text = "  ms/step  share    calls          achieved  of ceiling  what\n";
  char line[256];
  Row rest;
  const auto add = [&](const Row& row) {
    std::snprintf(line, sizeof line, "%9.2f %5.1f %% %8.0f  %-28s  %s\n", row.milliseconds,
                  table.busy > 0 ? 100 * row.milliseconds / table.busy : 0, row.calls, rate(row, ceilings).c_str(),
                  row.what.c_str());
    text += line;
  };
  std::size_t small = 0;
  for (const Row& row : table.rows) {
    if (row.milliseconds >= least * table.busy) {
      add(row);
      continue;
    }
    ++small;
    rest.milliseconds += row.milliseconds;
    rest.calls += row.calls;
  }
  if (small > 0) {
    rest.what = std::to_string(small) + " others";
    add(rest);
  }
  std::snprintf(line, sizeof line,
                "%9.2f          %8.0f                                GPU at work, kernels\n"
                "%9.2f                                                  GPU idle between them: the host was late\n",
                table.busy, table.kernels, table.gaps);
  return text + line;
}

std::string to_json(const Table& table, const Ceilings& ceilings) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& row : table.rows)
    rows.push_back({{"what", row.what},
                    {"milliseconds", row.milliseconds},
                    {"calls", row.calls},
                    {"flops", row.flops},
                    {"bytes", row.bytes}});
  return nlohmann::json{{"rows", rows},
                        {"busy_milliseconds", table.busy},
                        {"idle_milliseconds", table.gaps},
                        {"kernels", table.kernels},
                        {"ceiling_flops", ceilings.flops},
                        {"ceiling_bytes", ceilings.bytes}}
      .dump(2);
}

} // namespace conclave::profile
