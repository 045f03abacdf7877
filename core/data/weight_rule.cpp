// Temperature sampling (Devlin 2018; Conneau and Lample 2019) and UniMax (Chung et al., "UniMax: Fairer and more effective
// language sampling for large-scale multilingual pretraining", ICLR 2023, algorithm 1).

#include "data/weight_rule.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::data {
namespace {

/// The budget is dealt out in equal parts; what a small domain may not take is left to the larger ones.
std::vector<double> unimax_budgets(const std::vector<std::int64_t>& sizes, double passes, double budget) {
  std::vector<std::size_t> ascending(sizes.size());
  std::iota(ascending.begin(), ascending.end(), std::size_t{0});
  std::stable_sort(ascending.begin(), ascending.end(),
                   [&](std::size_t a, std::size_t b) { return sizes[a] < sizes[b]; });
  std::vector<double> budgets(sizes.size());
  double waiting = static_cast<double>(sizes.size());
  for (const std::size_t domain : ascending) {
    budgets[domain] = std::min(budget / waiting--, passes * static_cast<double>(sizes[domain]));
    budget -= budgets[domain];
  }
  return budgets;
}

} // namespace

std::vector<double> domain_shares(const WeightSettings& settings, const std::vector<double>& given,
                                  const std::vector<std::int64_t>& sizes, std::int64_t budget) {
  std::vector<double> shares = given;
  if (settings.rule == WeightRule::temperature)
    std::transform(sizes.begin(), sizes.end(), shares.begin(),
                   [&](std::int64_t size) { return std::pow(static_cast<double>(size), settings.alpha); });
  if (settings.rule == WeightRule::unimax) shares = unimax_budgets(sizes, settings.passes, static_cast<double>(budget));
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
  return shares;
}

} // namespace conclave::data
