// warmup-cosine against the same schedule composed from PyTorch's schedulers, and its edges.

#include "warmup_cosine.hpp"

#include "golden/scheduler/schedule_checks.hpp"

namespace conclave::testing {
namespace {

constexpr const char* id = "scheduler/warmup-cosine";

TEST(Schedule, EqualsPyTorchFor100Steps) { expect_pytorchs_rates(id); }
TEST(Schedule, IsFiniteEverywhereEvenPastTheEnd) { expect_finite_rates(id); }

TEST(Schedule, WarmUpStartsAboveZeroAndEndsAtThePeak) {
  const auto scheduler = make_scheduler(id, testkit::map({{"warmup", 10}}));
  EXPECT_DOUBLE_EQ(scheduler->learning_rate(0, {100, 1.0}), 0.1);
  EXPECT_DOUBLE_EQ(scheduler->learning_rate(9, {100, 1.0}), 1.0);
  EXPECT_EQ(scheduler->warmup_steps({100, 1.0}), 10);
  EXPECT_EQ(scheduler->warmup_steps({5, 1.0}), 5); // never longer than the run
}

} // namespace
} // namespace conclave::testing
