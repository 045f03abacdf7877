// One renderer of types and limits.

#include "cli/option_listing.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "conclave/options.hpp"

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

/// A whole number as one, whatever its size: 1048576 and not 1.05e+06.
std::string number_text(const Json& number) {
  constexpr double exact = 1e15;
  const double value = number.get<double>();
  if (value == std::floor(value) && std::abs(value) < exact) return std::to_string(static_cast<std::int64_t>(value));
  return detail::Codec<double>::render(value);
}

std::string limits_text(const Json& option) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  const bool exclusive = option.value("minimum_exclusive", false);
  if (option.contains("minimum") && option.contains("maximum")) {
    add((exclusive ? "(" : "[") + number_text(option["minimum"]) + ", " + number_text(option["maximum"]) + "]");
  } else if (option.contains("minimum")) {
    add((exclusive ? "> " : ">= ") + number_text(option["minimum"]));
  } else if (option.contains("maximum")) {
    add("<= " + number_text(option["maximum"]));
  }
  if (option.contains("length")) add(option["length"].dump() + " values");
  if (option.contains("choices")) {
    std::string choices;
    for (const Json& choice : option["choices"]) choices += (choices.empty() ? "" : ", ") + choice.get<std::string>();
    add((option.value("type", "") == "choice" ? "one of " : "or ") + choices);
  }
  return text;
}

std::string type_text(const Json& option) {
  const std::string type = option.value("type", ""), kind = option.value("kind", "");
  if (!option.contains("element")) return kind.empty() ? type : kind + " plugin";
  return type + " of " + (kind.empty() ? option.value("element", "") : kind + " plugins");
}

} // namespace

void add_option_texts(Json& options) {
  for (Json& option : options) {
    option["type_text"] = type_text(option);
    option["limits_text"] = limits_text(option);
    if (option.contains("fields")) add_option_texts(option["fields"]);
  }
}

void print_options(const Json& options, const std::string& indent) {
  for (const Json& option : options) {
    std::string line = indent + option.value("name", "") + ": " + option.value("type_text", "");
    const std::string standard = option.value("default", "");
    if (option.value("required", false))
      line += ", required";
    else if (!standard.empty() && !option.contains("fields")) // a group's default is that of its fields, below
      line += " = " + standard;
    if (option.value("optional", false)) line += ", may be null";
    if (const std::string limits = option.value("limits_text", ""); !limits.empty()) line += "; " + limits;
    if (!option.contains("fields")) line += "; affects " + option.value("affects", ""); // a group: as its fields do
    line += "\n";
    if (const std::string doc = option.value("doc", ""); !doc.empty()) line += indent + "    " + doc + "\n";
    if (option.contains("deprecated_aliases"))
      line += indent + "    old names: " + option["deprecated_aliases"].dump() + "\n";
    std::fputs(line.c_str(), stdout);
    if (option.contains("fields")) print_options(option["fields"], indent + "    ");
  }
}

void print_json(const Json& json) {
  std::fputs((json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n").c_str(), stdout);
}

} // namespace conclave
