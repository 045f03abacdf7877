// Shares by rule, against figures of others and against closed forms.

#include "data/weight_rule.hpp"

#include <gtest/gtest.h>

namespace conclave::data {
namespace {

using Sizes = std::vector<std::int64_t>;

TEST(WeightRule, GivenSharesAreNormalised) {
  const auto shares = domain_shares({}, {5, 2, 1.5, 1.5}, {1, 1, 1, 1}, 100);
  EXPECT_DOUBLE_EQ(shares[0], 0.5);
  EXPECT_DOUBLE_EQ(shares[3], 0.15);
}

TEST(WeightRule, TemperatureIsAPowerOfTheSize) {
  WeightSettings settings{WeightRule::temperature, 0.5, 4};
  const std::vector<double> given = {1, 1, 1};
  auto shares = domain_shares(settings, given, {100, 400, 2500}, 1);
  EXPECT_DOUBLE_EQ(shares[0], 10.0 / 80);
  EXPECT_DOUBLE_EQ(shares[1], 20.0 / 80);
  EXPECT_DOUBLE_EQ(shares[2], 50.0 / 80);
  settings.alpha = 0;
  shares = domain_shares(settings, given, {100, 400, 2500}, 1);
  for (const double share : shares) EXPECT_DOUBLE_EQ(share, 1.0 / 3);
  settings.alpha = 1;
  EXPECT_DOUBLE_EQ(domain_shares(settings, given, {100, 400, 2500}, 1)[2], 2500.0 / 3000);
}

// The worked example of the documentation of unimax_sampling, another implementation: Swedish, Faroe, Estonian, Icelandic and
// Persian text of FineWeb-2 in characters, a budget of 250 G, four epochs.
TEST(WeightRule, UniMaxGivesThePublishedExample) {
  const Sizes characters = {179955884499, 549707867, 42541080893, 10027573389, 184595788282};
  const auto shares = domain_shares({WeightRule::unimax, 0.3, 4}, {1, 1, 1, 1, 1}, characters, 250'000'000'000);
  EXPECT_NEAR(shares[0], 0.27692116663466665, 1e-14);
  EXPECT_NEAR(shares[1], 0.008795325872, 1e-14);
  EXPECT_NEAR(shares[2], 0.2769211666346667, 1e-14);
  EXPECT_NEAR(shares[3], 0.160441174224, 1e-14);
  EXPECT_NEAR(shares[4], 0.27692116663466665, 1e-14);
}

TEST(WeightRule, UniMaxWithoutSmallDomainsIsUniform) {
  for (const double share : domain_shares({WeightRule::unimax, 0.3, 2}, {1, 1, 1, 1}, {500, 700, 900, 10'000}, 1000))
    EXPECT_DOUBLE_EQ(share, 0.25);
}

TEST(WeightRule, UniMaxOfABudgetThatCannotBeSpentGivesEqualPasses) {
  const Sizes sizes = {100, 300, 600};
  const auto shares = domain_shares({WeightRule::unimax, 0.3, 2}, {1, 1, 1}, sizes, 10'000);
  for (std::size_t d = 0; d < 3; ++d) EXPECT_DOUBLE_EQ(shares[d], static_cast<double>(sizes[d]) / 1000);
}

} // namespace
} // namespace conclave::data
