// Row: one line of metrics.jsonl, a JSON object written member by member in a fixed order.
//
// What this is: enough JSON to write numbers that read back as the same double. What this is not: a JSON library.
//
// Threading: a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/monitor.hpp"

namespace conclave::jsonl {

/// The shortest text that reads back as the same double; `"nan"`, `"inf"` and `"-inf"` (with quotes) for those, which JSON
/// does not have.
std::string number_text(double value);
/// In quotes, escaped; bytes that are not UTF-8 become U+FFFD.
std::string string_text(std::string_view text);

class Row {
 public:
  Row& add(std::string_view key, std::int64_t value);
  Row& add(std::string_view key, double value);
  Row& add(std::string_view key, std::string_view value);
  /// Unlabelled metrics by their name; labelled ones as `<name>_by_<label>[_<label>]: {"<label value>": ...}`, nested where
  /// there are two labels or more.
  Row& add(const std::vector<Metric>& metrics, bool labelled);
  /// With the newline.
  [[nodiscard]] std::string text() const { return text_ + "}\n"; }

 private:
  void key(std::string_view name);
  std::string text_ = "{";
};

} // namespace conclave::jsonl
