// Tests of differences against SciPy 1.17.1: ttest_rel, ttest_ind with and without equal_var, confidence_interval(0.95).

#include "compare/statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace conclave::compare {
namespace {

const std::vector<double> a = {3.212, 3.198, 3.225, 3.207}, b = {3.201, 3.189, 3.210, 3.202}, c = {3.19, 3.25, 3.17};

TEST(Statistics, PairedTestIsSciPys) {
  const MeanDifference test = paired_test(a, b);
  EXPECT_NEAR(test.difference, -0.01, 1e-12);
  EXPECT_NEAR(test.half_width, 0.006624790268835886, 1e-12);
  EXPECT_NEAR(test.p, 0.017170651800802406, 1e-12);
  EXPECT_EQ(test.freedom, 3);
}

TEST(Statistics, WelchsTestIsSciPys) {
  const MeanDifference test = welch_test(a, c);
  EXPECT_NEAR(test.difference, -0.0071666666666665435, 1e-12);
  EXPECT_NEAR(test.half_width, 0.09669976735622317, 1e-10);
  EXPECT_NEAR(test.p, 0.7964893378149814, 1e-10);
  EXPECT_NEAR(test.freedom, 2.221375175086116, 1e-10);
}

TEST(Statistics, PooledTestIsSciPysWithEqualVariances) {
  const Pooled pooled = pooled_deviation({a, c, {7.0}, {}});
  EXPECT_NEAR(pooled.deviation, 0.02774046382693223, 1e-12);
  EXPECT_EQ(pooled.freedom, 5);
  const MeanDifference test = pooled_test(a, c, pooled.deviation, pooled.freedom);
  EXPECT_NEAR(test.half_width, 0.054463249513686196, 1e-12);
  EXPECT_NEAR(test.p, 0.7489113161209812, 1e-12);
}

TEST(Statistics, NoSpreadIsNoDivision) {
  const std::vector<double> same = {1, 1}, above = {2, 2};
  EXPECT_EQ(paired_test(same, same).p, 1);
  EXPECT_EQ(paired_test(same, above).p, 0);
  EXPECT_EQ(welch_test(same, above).difference, 1);
  EXPECT_EQ(pooled_deviation({{1.0}, {2.0}}).freedom, 0);
}

// R's p.adjust(c(.01, .04, .03, .005), "holm").
TEST(Statistics, HolmsAdjustment) {
  EXPECT_THAT(holm({0.01, 0.04, 0.03, 0.005}), ::testing::Pointwise(::testing::DoubleEq(), {0.03, 0.06, 0.06, 0.02}));
  EXPECT_TRUE(holm({}).empty());
}

} // namespace
} // namespace conclave::compare
