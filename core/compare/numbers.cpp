// snprintf with taste.

#include "compare/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace conclave::compare {
namespace {

std::string print(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

} // namespace

std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string short_number(double value) { return std::isnan(value) ? "-" : print("%.3g", value); }

std::string with_unit(double value, const char* unit) {
  if (std::isnan(value)) return "-";
  static constexpr const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  std::size_t prefix = 0;
  while (std::abs(value) >= 999.5 && prefix + 1 < std::size(prefixes)) {
    value /= 1000;
    ++prefix;
  }
  const std::string tail = std::string(prefixes[prefix]) + unit;
  return print("%.3g", value) + (*unit != '\0' ? " " : "") + tail;
}

std::string hours_text(double hours) {
  constexpr double minute = 1.0 / 60, second = minute / 60;
  if (std::isnan(hours)) return "-";
  if (hours < 2 * minute) return print("%.3g s", hours / second);
  return hours < 2 ? print("%.3g min", hours / minute) : print("%.3g h", hours);
}

std::string p_text(double p) {
  constexpr double least = 1e-4;
  return p < least ? "p < 0.0001" : print("p = %.2g", p);
}

int digits_for(double uncertainty) {
  constexpr int fewest = 3, most = 6;
  if (!(uncertainty > 0)) return fewest + 1;
  return std::clamp(static_cast<int>(std::ceil(-std::log10(uncertainty))) + 1, fewest, most);
}

} // namespace conclave::compare
