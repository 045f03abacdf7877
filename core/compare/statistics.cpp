// Textbook formulas.

#include "compare/statistics.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

namespace conclave::compare {
namespace {

constexpr double confidence = 0.95;

double squares_around(std::span<const double> values, double mean) {
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum;
}

MeanDifference test_of(double difference, double standard_error, double freedom) {
  if (!(standard_error > 0)) return {difference, 0, difference == 0 ? 1.0 : 0.0, freedom};
  const boost::math::students_t distribution(freedom);
  const double half = boost::math::quantile(distribution, (1 + confidence) / 2) * standard_error;
  const double t = std::abs(difference) / standard_error;
  return {difference, half, 2 * boost::math::cdf(boost::math::complement(distribution, t)), freedom};
}

} // namespace

Spread spread_of(std::span<const double> values) {
  Spread spread{values.size(), 0, 0};
  if (values.empty()) return spread;
  spread.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  if (values.size() > 1)
    spread.deviation = std::sqrt(squares_around(values, spread.mean) / static_cast<double>(values.size() - 1));
  return spread;
}

MeanDifference paired_test(std::span<const double> a, std::span<const double> b) {
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) differences[i] = b[i] - a[i];
  const Spread spread = spread_of(differences);
  const auto n = static_cast<double>(spread.n);
  return test_of(spread.mean, spread.deviation / std::sqrt(n), n - 1);
}

MeanDifference welch_test(std::span<const double> a, std::span<const double> b) {
  const Spread first = spread_of(a), second = spread_of(b);
  const auto na = static_cast<double>(first.n), nb = static_cast<double>(second.n);
  const double va = first.deviation * first.deviation / na, vb = second.deviation * second.deviation / nb;
  const double variance = va + vb;
  const double freedom =
      variance > 0 ? variance * variance / (va * va / (na - 1) + vb * vb / (nb - 1)) : na + nb - 2; // Satterthwaite
  return test_of(second.mean - first.mean, std::sqrt(variance), freedom);
}

MeanDifference pooled_test(std::span<const double> a, std::span<const double> b, double deviation, double freedom) {
  const Spread first = spread_of(a), second = spread_of(b);
  const double error = deviation * std::sqrt(1 / static_cast<double>(first.n) + 1 / static_cast<double>(second.n));
  return test_of(second.mean - first.mean, error, freedom);
}

Pooled pooled_deviation(const std::vector<std::vector<double>>& groups) {
  double squares = 0;
  Pooled pooled;
  for (const auto& group : groups) {
    if (group.size() < 2) continue;
    squares += squares_around(group, spread_of(group).mean);
    pooled.freedom += static_cast<double>(group.size() - 1);
  }
  if (pooled.freedom > 0) pooled.deviation = std::sqrt(squares / pooled.freedom);
  return pooled;
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, p[order[rank]] * static_cast<double>(p.size() - rank)));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

} // namespace conclave::compare
