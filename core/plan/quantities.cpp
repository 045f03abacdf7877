// A number, a prefix, a unit.

#include "plan/quantities.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <span>
#include <string_view>

namespace conclave::plan {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 4> work_units = {{{"MFLOP", 1e6}, {"GFLOP", 1e9}, {"TFLOP", 1e12}, {"PFLOP", 1e15}}};
constexpr std::array<Unit, 3> flop_rate_units = {{{"GFLOP/s", 1e9}, {"TFLOP/s", 1e12}, {"PFLOP/s", 1e15}}};
constexpr std::array<Unit, 3> byte_rate_units = {{{"MB/s", 1e6}, {"GB/s", 1e9}, {"TB/s", 1e12}}};
constexpr std::array<Unit, 4> time_units = {{{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};

std::string choices(std::span<const Unit> units) {
  std::string text;
  for (const Unit& unit : units) text += (text.empty() ? "" : ", ") + std::string(unit.name);
  return text;
}

/// A number above 0 and one of the units; else a diagnostic, and nothing.
std::optional<double> read_quantity(std::string_view text, std::span<const Unit> units, const char* example,
                                    const Location& where, const std::string& key, Diagnostics& diagnostics) {
  const auto fail = [&](const std::string& what) {
    diagnostics.error(where, key, "'" + std::string(text.substr(0, 40)) + "' " + what,
                      "write a number and one of " + choices(units) + ", as in " + example);
    return std::nullopt;
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return fail("does not begin with a number");
  std::string_view name(end, static_cast<std::size_t>(text.data() + text.size() - end));
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  if (name.empty()) return fail("has no unit");
  const auto unit = std::find_if(units.begin(), units.end(), [name](const Unit& u) { return u.name == name; });
  if (unit == units.end()) return fail("has the unknown unit '" + std::string(name.substr(0, 20)) + "'");
  const double value = number * unit->factor;
  if (!(value > 0) || !std::isfinite(value)) return fail("is no value above 0");
  return value;
}

bool read_scalar(const Value& value, std::span<const Unit> units, const char* example, const std::string& key,
                 Diagnostics& diagnostics, double& out) {
  if (!value.is_scalar()) {
    diagnostics.error(value.where(), key, "expected one value",
                      "write a number and a unit, as in " + std::string(example));
    return false;
  }
  const auto read = read_quantity(value.text(), units, example, value.where(), key, diagnostics);
  out = read.value_or(out);
  return read.has_value();
}

/// In the largest unit that leaves a number of at least 1.
std::string scaled(double value, std::span<const Unit> units) {
  const Unit* best = units.data();
  for (const Unit& unit : units)
    if (value >= unit.factor * 0.9995) best = &unit;
  char text[48];
  std::snprintf(text, sizeof text, "%.4g %.*s", value / best->factor, static_cast<int>(best->name.size()),
                best->name.data());
  return text;
}

constexpr const char* flop_rate_example = "312 TFLOP/s";

} // namespace

double RateCurve::seconds(double flops) const {
  const Point* above = std::lower_bound(points_.data(), points_.data() + points_.size(), flops,
                                        [](const Point& point, double size) { return point.first < size; });
  if (above == points_.data()) return points_.front().first / points_.front().second;
  if (above == points_.data() + points_.size()) return flops / points_.back().second;
  const auto& [small, slow] = above[-1];
  const auto& [large, fast] = above[0];
  return flops / (slow + (fast - slow) * std::log(flops / small) / std::log(large / small));
}

std::string text(FlopRate rate) { return scaled(rate.value, flop_rate_units); }
std::string text(ByteRate rate) { return scaled(rate.value, byte_rate_units); }
std::string text(Latency latency) { return scaled(latency.seconds, time_units); }
std::string text(const RateCurve& curve) {
  if (curve.points().size() == 1 && curve.points()[0].first <= 1) return text(FlopRate{curve.points()[0].second});
  std::string text;
  for (const auto& [flops, rate] : curve.points())
    text += (text.empty() ? "{" : ", ") + scaled(flops, work_units) + ": " + scaled(rate, flop_rate_units);
  return text.empty() ? "" : text + "}";
}

} // namespace conclave::plan

namespace conclave::detail {

using plan::ByteRate;
using plan::FlopRate;
using plan::Latency;
using plan::RateCurve;

bool Codec<FlopRate>::parse(const Value& value, const std::string& key, const ParseScope& scope, FlopRate& out) {
  return plan::read_scalar(value, plan::flop_rate_units, plan::flop_rate_example, key, scope.diagnostics, out.value);
}

bool Codec<ByteRate>::parse(const Value& value, const std::string& key, const ParseScope& scope, ByteRate& out) {
  return plan::read_scalar(value, plan::byte_rate_units, "2.0 TB/s", key, scope.diagnostics, out.value);
}

bool Codec<Latency>::parse(const Value& value, const std::string& key, const ParseScope& scope, Latency& out) {
  return plan::read_scalar(value, plan::time_units, "4 us", key, scope.diagnostics, out.seconds);
}

bool Codec<RateCurve>::parse(const Value& value, const std::string& key, const ParseScope& scope, RateCurve& out) {
  std::vector<RateCurve::Point> points;
  if (value.is_scalar()) {
    FlopRate rate;
    if (!Codec<FlopRate>::parse(value, key, scope, rate)) return false;
    out = RateCurve::flat(rate);
    return true;
  }
  if (!expect_map(value, key, scope.diagnostics)) return false;
  bool good = !value.members().empty();
  if (!good) scope.diagnostics.error(value.where(), key, "a curve without a point", "write one rate, or rates by size");
  for (const Value::Member& member : value.members()) {
    FlopRate rate;
    const auto work =
        plan::read_quantity(member.key, plan::work_units, "16 GFLOP", member.key_where, key, scope.diagnostics);
    const bool rated = Codec<FlopRate>::parse(member.value, key, scope, rate);
    good = good && work && rated;
    if (good && !points.empty() && *work <= points.back().first) {
      scope.diagnostics.error(member.key_where, key, "'" + member.key + "' is not above the size before it",
                              "list the sizes in ascending order");
      good = false;
    }
    if (good) points.emplace_back(*work, rate.value);
  }
  if (good) out = RateCurve(std::move(points));
  return good;
}

} // namespace conclave::detail
