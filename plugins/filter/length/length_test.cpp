// Tests of filter/length.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

using Verdicts = std::vector<std::string>;

TEST(LengthFilter, BoundsAreInclusive) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/length"), host,
                                    testkit::map({{"min_bytes", 2}, {"max_bytes", 4}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  EXPECT_EQ(testkit::verdicts(**made, {"", "a", "ab", "abcd", "abcde"}),
            (Verdicts{"too-short", "too-short", "", "", "too-long"}));
}

TEST(LengthFilter, CountsCodePointsAndNotBytes) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/length"), host,
                                    testkit::map({{"min_characters", 3}, {"max_characters", 3}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  EXPECT_EQ(testkit::verdicts(**made, {"äöü", "日本", "\xF0\x9F\x98\x80 x", "abcd"}),
            (Verdicts{"", "too-short", "", "too-long"}));
}

TEST(LengthFilter, RefusesCrossedBounds) {
  const auto bound = testkit::bind_options(testkit::this_library("filter/length").options,
                                           testkit::map({{"min_bytes", 10}, {"max_bytes", 9}}));
  ASSERT_EQ(bound.diagnostics.error_count(), 1u);
  EXPECT_EQ(bound.diagnostics.all()[0].key, "with.max_bytes");
}

TEST(LengthFilter, EveryOptionActsAtSelection) {
  for (const OptionSpec& spec : testkit::this_library("filter/length").options.specs())
    EXPECT_EQ(spec.affects, Affects::selection) << spec.name;
}

} // namespace
} // namespace conclave
