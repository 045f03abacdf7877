// Exact shares: in every batch within one seat, cumulatively within one sequence, against exact rational arithmetic.

#include "data/domain_schedule.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "conclave/random.hpp"

namespace conclave::data {
namespace {

using Parts = std::vector<std::int64_t>;

/// Batches after which the pattern repeats: the smallest number of batches that gives every domain a whole share.
std::int64_t period_of(const Parts& parts, std::int64_t batch) {
  const std::int64_t total = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
  return total / std::gcd(total, batch);
}

void expect_fair(const Parts& parts, std::int64_t batch, std::int64_t batches) {
  const DomainSchedule schedule(parts, batch);
  const std::int64_t total = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
  Parts sum(parts.size());
  for (std::int64_t b = 0; b < batches; ++b) {
    std::int64_t seats = 0;
    for (std::size_t d = 0; d < parts.size(); ++d) {
      ASSERT_EQ(schedule.before(b, d), sum[d]);
      const std::int64_t count = schedule.count(b, d);
      const std::int64_t floor = batch * parts[d] / total;
      ASSERT_GE(count, floor);
      ASSERT_LE(count, floor + 1);
      seats += count;
      sum[d] += count;
      // |sum - (b + 1) * batch * part / total| < 1, in integers.
      const __int128 lag = static_cast<__int128>(sum[d]) * total - static_cast<__int128>(b + 1) * batch * parts[d];
      ASSERT_LT(lag, total) << "domain " << d << " batch " << b;
      ASSERT_GT(lag, -total) << "domain " << d << " batch " << b;
    }
    ASSERT_EQ(seats, batch);
  }
}

TEST(DomainSchedule, TheSeedRunsShares) {
  expect_fair({10, 4, 3, 3}, 4096, 200);
  expect_fair({10, 4, 3, 3}, 32, 200);
  expect_fair({10, 4, 3, 3}, 1, 200);
  const DomainSchedule schedule({10, 4, 3, 3}, 4096);
  for (std::size_t d = 0; d < 4; ++d) EXPECT_EQ(schedule.before(5, d) * 20, 5 * 4096 * schedule.parts()[d]);
}

TEST(DomainSchedule, OneDomain) { expect_fair({1}, 7, 20); }

TEST(DomainSchedule, AnyMixIsFairOverAWholePeriod) {
  const RandomStream random(3, "mixes");
  std::uint64_t draw = 0;
  for (int trial = 0; trial < 400; ++trial) {
    Parts parts(2 + random.below(draw++, 24));
    // Mixes of like sizes, of very unlike sizes, and with one heavy domain (weights near 1 are the hard case).
    const std::uint64_t bound = trial % 3 == 0 ? 10 : trial % 3 == 1 ? 300 : 4;
    for (auto& part : parts) part = 1 + static_cast<std::int64_t>(random.below(draw++, bound));
    if (trial % 3 == 2) parts[0] = 50 + static_cast<std::int64_t>(random.below(draw++, 200));
    const std::int64_t batch = 1 + static_cast<std::int64_t>(random.below(draw++, 64));
    expect_fair(parts, batch, period_of(parts, batch) + 3);
    if (HasFatalFailure()) {
      ADD_FAILURE() << "trial " << trial;
      return;
    }
  }
}

TEST(IntegerShares, FindsSmallProportions) {
  EXPECT_EQ(integer_shares({0.5, 0.2, 0.15, 0.15}), (Parts{10, 4, 3, 3}));
  EXPECT_EQ(integer_shares({1.0}), (Parts{1}));
  EXPECT_EQ(integer_shares({1.0 / 3, 2.0 / 3}), (Parts{1, 2}));
  EXPECT_EQ(integer_shares({1.0 / 7, 2.0 / 7, 4.0 / 7}), (Parts{1, 2, 4}));
}

TEST(IntegerShares, OddSharesAreMetToTheResolution) {
  const std::vector<double> shares = {0.31415926535, 0.27182818284, 1 - 0.31415926535 - 0.27182818284 - 1e-9, 1e-9};
  const Parts parts = integer_shares(shares);
  const auto total = static_cast<double>(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}));
  for (std::size_t d = 0; d < parts.size(); ++d) {
    EXPECT_GE(parts[d], 1);
    EXPECT_NEAR(static_cast<double>(parts[d]) / total, shares[d], 2.0 / 65536);
  }
}

} // namespace
} // namespace conclave::data
