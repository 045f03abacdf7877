// Exact shares: in every batch within one seat, cumulatively within one sequence, against exact rational arithmetic.

#include "data/domain_schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

/// Like sizes, very unlike sizes, one heavy domain (weights near 1 are the hard case), some domains without a share.
Parts hostile_mix(const RandomStream& random, std::uint64_t& draw, int trial) {
  Parts parts(2 + random.below(draw++, trial % 4 == 3 ? 39 : 12));
  const std::uint64_t bound = trial % 4 == 0 ? 10 : trial % 4 == 1 ? 300 : 4;
  for (auto& part : parts) part = 1 + static_cast<std::int64_t>(random.below(draw++, bound));
  if (trial % 4 >= 2) parts[0] = 50 + static_cast<std::int64_t>(random.below(draw++, 200));
  if (trial % 5 == 0) parts.back() = 0;
  return parts;
}

TEST(DomainSchedule, TenThousandHostileMixesAreFairOverAWholePeriod) {
  const RandomStream random(3, "mixes");
  std::uint64_t draw = 0;
  for (int trial = 0; trial < 10'000; ++trial) {
    const Parts parts = hostile_mix(random, draw, trial);
    const std::int64_t batch = 1 + static_cast<std::int64_t>(random.below(draw++, 64));
    expect_fair(parts, batch, period_of(parts, batch) + 3);
    if (HasFatalFailure()) {
      ADD_FAILURE() << "trial " << trial;
      return;
    }
  }
}

TEST(IntegerShares, FindsSmallProportions) {
  EXPECT_EQ(integer_shares({0.5, 0.2, 0.15, 0.15}, 32), (Parts{10, 4, 3, 3}));
  EXPECT_EQ(integer_shares({1.0}, 32), (Parts{1}));
  EXPECT_EQ(integer_shares({1.0 / 3, 2.0 / 3}, 32), (Parts{1, 2}));
  EXPECT_EQ(integer_shares({1.0 / 7, 2.0 / 7, 4.0 / 7}, 32), (Parts{1, 2, 4}));
}

TEST(IntegerShares, ADomainWithoutAShareHasNoPart) {
  EXPECT_EQ(integer_shares({0.75, 0, 0.25}, 8), (Parts{3, 0, 1}));
  const Parts odd = integer_shares({0.31415926535, 0, 1 - 0.31415926535}, 8);
  EXPECT_EQ(odd[1], 0);
  const DomainSchedule schedule(odd, 8);
  for (std::int64_t b = 0; b < 100; ++b) EXPECT_EQ(schedule.count(b, 1), 0);
}

TEST(IntegerShares, OddSharesKeepThePeriodShort) {
  // Tiny ones that are raised to a part of their own take it from the largest: the number of parts stays a multiple.
  std::vector<double> shares(40, 1e-9);
  shares[3] = 1 - 0.2 - 38e-9;
  shares[7] = 0.2;
  for (const std::int64_t batch : {1, 7, 48, 4096}) {
    const Parts parts = integer_shares(shares, batch);
    EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}) % batch, 0);
    EXPECT_GE(*std::min_element(parts.begin(), parts.end()), 1);
  }
}

TEST(IntegerShares, OddSharesAreMetToTheResolution) {
  const std::vector<double> shares = {0.31415926535, 0.27182818284, 1 - 0.31415926535 - 0.27182818284 - 1e-9, 1e-9};
  const Parts parts = integer_shares(shares, 48);
  const auto total = static_cast<double>(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}));
  for (std::size_t d = 0; d < parts.size(); ++d) {
    EXPECT_GE(parts[d], 1);
    EXPECT_NEAR(static_cast<double>(parts[d]) / total, shares[d], 2.0 / 65536);
  }
}

} // namespace
} // namespace conclave::data
