// Lines and their texts.

#include "doctor/check.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace conclave::doctor {

const char* to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::warn: return "warn";
    case Verdict::fail: return "fail";
  }
  return "";
}

Check at_least(std::string name, double found, double wanted, std::string figure, const std::string& wanted_text,
               const std::string& advice) {
  if (found >= wanted) return {std::move(name), Verdict::ok, std::move(figure), ""};
  return {std::move(name), Verdict::fail, std::move(figure), wanted_text + " wanted: " + advice};
}

nlohmann::ordered_json to_json(const Check& check) {
  return {
      {"name", check.name}, {"verdict", to_string(check.verdict)}, {"figure", check.figure}, {"advice", check.advice}};
}

Result<Check> check_from_json(const std::string& text) {
  const auto read = nlohmann::json::parse(text, nullptr, false);
  Check check;
  const auto take = [&read](const char* key, std::string& out) {
    const auto found = read.find(key);
    if (found == read.end() || !found->is_string()) return false;
    out = *found;
    return true;
  };
  std::string verdict;
  if (!read.is_object() || !take("name", check.name) || !take("verdict", verdict) || !take("figure", check.figure) ||
      !take("advice", check.advice))
    return internal_error("'" + text + "' is no line of a check");
  check.verdict = verdict == "ok" ? Verdict::ok : verdict == "warn" ? Verdict::warn : Verdict::fail;
  return check;
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  const double size = std::abs(value);
  const int decimals = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

std::string size_text(double bytes) {
  static constexpr std::array<const char*, 6> units = {"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < units.size(); ++unit) bytes /= 1000;
  return (unit == 0 ? std::to_string(static_cast<int>(bytes)) : number_text(bytes)) + " " + units[unit];
}

} // namespace conclave::doctor
