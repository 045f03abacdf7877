// constant against the same schedule composed from PyTorch's schedulers, and its edges.

#include "constant.hpp"

#include "golden/scheduler/schedule_checks.hpp"

namespace conclave::testing {
namespace {

constexpr const char* id = "scheduler/constant";

TEST(Schedule, EqualsPyTorchFor100Steps) { expect_pytorchs_rates(id); }
TEST(Schedule, IsFiniteEverywhereEvenPastTheEnd) { expect_finite_rates(id); }

TEST(Schedule, HandsOverToTheNext) {
  const auto second =
      make_scheduler(id, testkit::map({{"ratio", 0.5}, {"warmup", "10%"}})); // of the 60 steps that are left
  const auto chain = make_scheduler(id, testkit::map({{"steps", 40}}), {{"next", second}});
  EXPECT_DOUBLE_EQ(chain->learning_rate(39, {100, 1.0}), 1.0);
  EXPECT_DOUBLE_EQ(chain->learning_rate(40, {100, 1.0}), 0.5 / 6);
  EXPECT_DOUBLE_EQ(chain->learning_rate(99, {100, 1.0}), 0.5);
}

TEST(Schedule, RefusesToHandOverNothing) {
  testkit::FakeHost host;
  const auto next = make_scheduler(id);
  for (const Value& with : {Value{}, testkit::map({{"steps", "100%"}})}) {
    const auto made = testkit::make<Scheduler>(testkit::this_library(id), host, with, {{"next", next}});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, Code::invalid_argument);
    EXPECT_NE(made.error().fix.find("steps: 10%"), std::string::npos);
  }
}

} // namespace
} // namespace conclave::testing
