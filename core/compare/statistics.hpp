// Tests of whether two groups of runs differ: Student's paired t, Welch's t, and a t with a spread known from other groups.
//
// What this is: textbook formulas over Boost.Math's distribution. Differences are always b - a. What this is not: a choice of
// test (comparison.cpp).
//
// Threading: functions without state.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace conclave::compare {

struct Spread {
  std::size_t n = 0;
  double mean = 0;
  double deviation = 0; ///< of the sample (n - 1); 0 for n < 2
};
Spread spread_of(std::span<const double> values);

struct MeanDifference {
  double difference = 0; ///< mean of b - mean of a
  double half_width = 0; ///< of the 95 % confidence interval around it
  double p = 1;          ///< two-sided; 0 where the spread is 0 and the difference is not
  double freedom = 0;    ///< degrees of
};

/// a[i] belongs to b[i]. Precondition: equal sizes of at least 2.
MeanDifference paired_test(std::span<const double> a, std::span<const double> b);
/// Precondition: at least 2 values each.
MeanDifference welch_test(std::span<const double> a, std::span<const double> b);
/// With one deviation for both groups, known with `freedom` degrees from elsewhere. Precondition: at least one value each,
/// freedom >= 1.
MeanDifference pooled_test(std::span<const double> a, std::span<const double> b, double deviation, double freedom);

/// Deviation within groups, all taken as one: the square root of the mean variance, weighted by degrees of freedom. Groups of
/// one value say nothing. `freedom` 0: nothing is known.
struct Pooled {
  double deviation = 0, freedom = 0;
};
Pooled pooled_deviation(const std::vector<std::vector<double>>& groups);

/// Holm's step-down adjustment for making that many comparisons at once, in the order given.
std::vector<double> holm(const std::vector<double>& p);

} // namespace conclave::compare
