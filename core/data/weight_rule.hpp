// Rules that weight a mixture: shares of domains from their sizes.
//
// What this is: numbers from numbers. What this is not: seats in batches (domain_schedule.hpp) or an experiment's options.
//
// Threading: pure.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::data {

enum class WeightRule {
  given,       ///< as the experiment says
  temperature, ///< size^alpha: 1 in proportion to the sizes, 0 all alike
  unimax       ///< all alike, but no domain gets more than `passes` over its samples in the whole run
};

struct WeightSettings {
  WeightRule rule = WeightRule::given;
  double alpha = 0.3; ///< of temperature, in [0, 1]
  double passes = 4;  ///< of unimax, > 0
};

/// Shares that sum to 1. `given` are positive; `sizes` are the samples of one pass, positive; `budget`: samples of the
/// whole run, >= 1. Where unimax cannot spend the budget, every domain gets equally many passes, more than asked for.
std::vector<double> domain_shares(const WeightSettings& settings, const std::vector<double>& given,
                                  const std::vector<std::int64_t>& sizes, std::int64_t budget);

} // namespace conclave::data
