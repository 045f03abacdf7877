// Tests of @ID@.

#include <gtest/gtest.h>

#include "conclave/scheduler.hpp"
#include "conclave/testkit.hpp"

namespace testkit = conclave::testkit;

TEST(@CLASS@, IsAShareOfThePeak) {
  testkit::FakeHost host;
  const auto made = testkit::make<conclave::Scheduler>(testkit::this_library("@ID@"), host, testkit::map({{"factor", 0.5}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  for (const std::int64_t step : {0, 1, 999, 5000}) EXPECT_DOUBLE_EQ((*made)->learning_rate(step, {1000, 2e-4}), 1e-4);
}

TEST(@CLASS@, RefusesAFactorAboveOne) {
  testkit::FakeHost host;
  EXPECT_FALSE(testkit::make<conclave::Scheduler>(testkit::this_library("@ID@"), host, testkit::map({{"factor", 2}})).ok());
}
