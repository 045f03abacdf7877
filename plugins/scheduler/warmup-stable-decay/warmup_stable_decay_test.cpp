// warmup-stable-decay against the same schedule composed from PyTorch's schedulers, and its edges.

#include "warmup_stable_decay.hpp"

#include "golden/scheduler/schedule_checks.hpp"

namespace conclave::testing {
namespace {

constexpr const char* id = "scheduler/warmup-stable-decay";

TEST(Schedule, EqualsPyTorchFor100Steps) { expect_pytorchs_rates(id); }
TEST(Schedule, IsFiniteEverywhereEvenPastTheEnd) { expect_finite_rates(id); }

TEST(Schedule, WithoutDecayStaysAtThePeak) {
  const auto scheduler = make_scheduler(id, testkit::map({{"warmup", 0}, {"decay", 0}}));
  for (const std::int64_t step : {0, 50, 99, 1000}) EXPECT_DOUBLE_EQ(scheduler->learning_rate(step, {100, 1.0}), 1.0);
}

TEST(Schedule, WarmUpComesBeforeAnOverlappingDecay) {
  const auto scheduler = make_scheduler(id, testkit::map({{"warmup", 60}, {"decay", 60}, {"shape", "linear"}}));
  EXPECT_DOUBLE_EQ(scheduler->learning_rate(59, {100, 1.0}), 1.0);
  EXPECT_DOUBLE_EQ(scheduler->learning_rate(80, {100, 1.0}), 0.5);
}

TEST(Schedule, RefusesSharesAboveTheWhole) {
  EXPECT_FALSE(
      testkit::bind_options(warmup_stable_decay::option_table(), testkit::map({{"warmup", "60%"}, {"decay", "50%"}}))
          .ok());
}

} // namespace
} // namespace conclave::testing
