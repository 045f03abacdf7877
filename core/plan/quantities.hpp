// Quantities of a machine file: numbers that need a unit, as options read them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "conclave/options.hpp"

namespace conclave::plan {

/// Floating-point operations a second: `312 TFLOP/s`.
struct FlopRate {
  double value = 0;
};

/// Bytes a second: `2.0 TB/s`, powers of 1000.
struct ByteRate {
  double value = 0;
};

/// `4 us`, `20 ns`, `1.5 ms`.
struct Latency {
  double seconds = 0;
};

/// How fast an operator is by its size: a map such as `{1 GFLOP: 110 TFLOP/s, 1 TFLOP: 260 TFLOP/s}`, or one rate for
/// all sizes.
class RateCurve {
 public:
  using Point = std::pair<double, double>; ///< operations, and operations a second

  RateCurve() = default;
  /// Precondition: at least one point; sizes ascend and are above 0, as rates are.
  explicit RateCurve(std::vector<Point> points) : points_(std::move(points)) {}
  /// One rate for all sizes: no operator has fewer than one operation.
  static RateCurve flat(FlopRate rate) { return RateCurve({{1, rate.value}}); }

  /// Between points the rate is linear in the logarithm of the size. Below the first the time stays that of the first:
  /// nothing is faster than a launch. Above the last the rate stays.
  [[nodiscard]] double seconds(double flops) const;
  [[nodiscard]] const std::vector<Point>& points() const noexcept { return points_; }

 private:
  std::vector<Point> points_;
};

/// "312 TFLOP/s", "2.04 TB/s", "4 us": as a machine file has them, three digits.
std::string text(FlopRate rate);
std::string text(ByteRate rate);
std::string text(Latency latency);
std::string text(const RateCurve& curve);

} // namespace conclave::plan

namespace conclave::detail {

#define CONCLAVE_PLAN_CODEC(T)                                                                      \
  template <>                                                                                       \
  struct Codec<T> {                                                                                 \
    static constexpr OptionType type = OptionType::text;                                            \
    static bool parse(const Value& value, const std::string& key, const ParseScope& scope, T& out); \
    static std::string render(const T& value) { return plan::text(value); }                         \
  }
CONCLAVE_PLAN_CODEC(plan::FlopRate);
CONCLAVE_PLAN_CODEC(plan::ByteRate);
CONCLAVE_PLAN_CODEC(plan::Latency);
CONCLAVE_PLAN_CODEC(plan::RateCurve);
#undef CONCLAVE_PLAN_CODEC

} // namespace conclave::detail
