// Tests of @ID@.

#include <gtest/gtest.h>

#include "conclave/checkpoint_policy.hpp"
#include "conclave/testkit.hpp"

namespace testkit = conclave::testkit;

TEST(@CLASS@, SavesOnTimeAndKeepsTheLast) {
  testkit::FakeHost host;
  const auto made = testkit::make<conclave::CheckpointPolicy>(testkit::this_library("@ID@"), host,
                                                              testkit::map({{"every", 10}, {"keep", 2}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  EXPECT_FALSE((*made)->due(9, 100));
  EXPECT_TRUE((*made)->due(10, 100));
  const std::vector<conclave::CheckpointInfo> committed = {{10, 1}, {20, 1}, {30, 1}, {40, 1}};
  EXPECT_EQ((*made)->retire(committed), (std::vector<std::int64_t>{10, 20}));
  EXPECT_TRUE((*made)->retire(std::span(committed).first(2)).empty());
}
