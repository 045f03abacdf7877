// What makes a layout's run the same run as one rank's, on planted records.

#include "run/layout_verdict.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace conclave {
namespace {

std::vector<RecordedStep> two_steps() {
  return {{1, 8.25, 8.125, 2.5, true, {{0, {4, 4}}, {1, {5, 3}}}},
          {2, 8.0, 7.875, 0.5, true, {{0, {4, 4}}, {1, {2, 6}}}}};
}

LayoutVerdict verdict_of(const std::vector<RecordedStep>& found, Parting parting, double tolerance = 1e-9) {
  LayoutVerdict verdict;
  compare_steps(found, two_steps(), verdict);
  judge(verdict, tolerance, parting);
  return verdict;
}

TEST(LayoutVerdict, EqualRecordsAreTheSame) {
  const LayoutVerdict verdict = verdict_of(two_steps(), Parting::refused);
  EXPECT_TRUE(verdict.same);
  EXPECT_EQ(verdict.loss_difference, 0);
  EXPECT_EQ(verdict.norm_difference, 0);
}

TEST(LayoutVerdict, DifferencesAreRelativeAboveOneAndTheLargestCounts) {
  auto found = two_steps();
  found[0].loss += 8.25e-6;
  found[1].nll -= 7.875e-5;
  found[1].grad_norm += 3e-7; // below one: absolute
  const LayoutVerdict verdict = verdict_of(found, Parting::refused);
  EXPECT_FALSE(verdict.same);
  EXPECT_NEAR(verdict.loss_difference, 1e-5, 1e-12);
  EXPECT_NEAR(verdict.norm_difference, 3e-7, 1e-12);
  EXPECT_TRUE(verdict_of(found, Parting::refused, 2e-5).same);
}

TEST(LayoutVerdict, ARoutingDifferenceIsAnotherRunOnlyWhereItIsRefused) {
  auto found = two_steps();
  found[1].counters[1].second = {3, 5};
  found[1].loss = 100; // after it, nothing is compared
  for (const Parting parting : {Parting::refused, Parting::allowed}) {
    const LayoutVerdict verdict = verdict_of(found, parting);
    EXPECT_EQ(verdict.parted, "step 2, layer 1, expert 0: 3 tokens, one rank 2");
    EXPECT_EQ(verdict.loss_difference, 0);
    EXPECT_EQ(verdict.same, parting == Parting::allowed);
  }
}

TEST(LayoutVerdict, StepsBeforeARoutingDifferenceStillCount) {
  auto found = two_steps();
  found[0].loss += 1;
  found[1].counters[0].second = {3, 5};
  EXPECT_FALSE(verdict_of(found, Parting::allowed).same);
}

TEST(LayoutVerdict, ANumberAndNoNumberAreApart) {
  auto found = two_steps();
  found[0].loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(verdict_of(found, Parting::allowed).loss_difference, HUGE_VAL);
}

TEST(LayoutVerdict, AMissingStepIsNamed) {
  auto found = two_steps();
  found.pop_back();
  const LayoutVerdict verdict = verdict_of(found, Parting::allowed);
  EXPECT_EQ(verdict.failure, "it took 1 steps, one rank 2");
  EXPECT_FALSE(verdict.same);
}

} // namespace
} // namespace conclave
