// Tests of @ID@.

#include <gtest/gtest.h>

#include "conclave/filter.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace testkit = conclave::testkit;

TEST(@CLASS@, DropsTextsWithTooFewWords) {
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  const auto made = testkit::make<conclave::Filter>(testkit::this_library("@ID@"), host, testkit::map({{"minimum", 3}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  const std::vector<std::string> expected = {"too-few-words", "", "too-few-words", ""};
  EXPECT_EQ(testkit::verdicts(**made, {"two words", "now there\nare five words", "", "one two three"}), expected);
}

TEST(@CLASS@, RefusesANegativeMinimum) {
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  EXPECT_FALSE(testkit::make<conclave::Filter>(testkit::this_library("@ID@"), host, testkit::map({{"minimum", -1}})).ok());
}
