// name{label="value",...} number [time]

#include "top/exposition.hpp"

#include <cstdlib>
#include <optional>

namespace conclave::top {
namespace {

/// The labels after '{', with escapes undone; moves `at` behind '}'. Nothing when they do not end.
std::optional<std::map<std::string, std::string>> parse_labels(std::string_view line, std::size_t& at) {
  std::map<std::string, std::string> labels;
  while (at < line.size() && line[at] != '}') {
    const std::size_t equals = line.find("=\"", at);
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string key(line.substr(at, equals - at));
    std::string value;
    for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] == '\\' && at + 1 < line.size())
        value += line[++at] == 'n' ? '\n' : line[at];
      else
        value += line[at];
    }
    ++at; // the quote
    labels[key] = std::move(value);
    while (at < line.size() && (line[at] == ',' || line[at] == ' ')) ++at;
  }
  if (at >= line.size()) return std::nullopt;
  ++at;
  return labels;
}

std::optional<Sample> parse_line(std::string_view line) {
  if (line.empty() || line.front() == '#') return std::nullopt;
  std::size_t at = line.find_first_of("{ ");
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  Sample sample;
  sample.name = std::string(line.substr(0, at));
  if (line[at] == '{') {
    auto labels = parse_labels(line, ++at);
    if (!labels) return std::nullopt;
    sample.labels = std::move(*labels);
  }
  const std::string number(line.substr(at));
  char* end = nullptr;
  sample.value = std::strtod(number.c_str(), &end); // takes NaN and +Inf, too
  if (end == number.c_str()) return std::nullopt;
  return sample;
}

} // namespace

std::vector<Sample> parse_exposition(std::string_view text) {
  std::vector<Sample> samples;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto sample = parse_line(text.substr(0, end))) samples.push_back(std::move(*sample));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return samples;
}

} // namespace conclave::top
