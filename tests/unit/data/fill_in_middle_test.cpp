// The rearrangement can be undone, comes as often as asked for, and keeps the length.

#include "data/fill_in_middle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "conclave/random.hpp"

namespace conclave::data {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::int32_t prefix = 1001, suffix = 1002, middle = 1003;

FillInMiddle settings_of(double rate, double spm) { return {rate, spm, prefix, suffix, middle, {}}; }

Tokens counting(int length) {
  Tokens tokens(static_cast<std::size_t>(length));
  std::iota(tokens.begin(), tokens.end(), 1);
  return tokens;
}

/// The parts behind the marks, put together again: what the reader of the form would do.
Tokens put_together(const Tokens& tokens, bool spm) {
  const auto at = [&](std::int32_t mark) { return std::find(tokens.begin(), tokens.end(), mark); };
  const Tokens before(at(prefix) + 1, at(suffix)), behind(at(suffix) + 1, at(middle)),
      rest(at(middle) + 1, tokens.end());
  Tokens text = before;
  text.insert(text.end(), rest.begin(), rest.end());
  text.insert(text.end(), behind.begin(), behind.end());
  EXPECT_TRUE(!spm || before.empty());
  return text;
}

TEST(FillInMiddle, BothFormsHoldTheWholeTextButTheLastThreeTokens) {
  const RandomStream random(3, "test");
  for (const bool spm : {false, true})
    for (std::uint64_t draw = 0; draw < 2000; ++draw) {
      const Tokens whole = counting(4 + static_cast<int>(draw % 60));
      Tokens tokens = whole;
      ASSERT_TRUE(fill_in_middle(settings_of(1, spm ? 1 : 0), random.block(draw), tokens));
      ASSERT_EQ(tokens.size(), whole.size());
      ASSERT_EQ(tokens[0], prefix);
      ASSERT_TRUE(!spm || tokens[1] == suffix);
      const Tokens text = put_together(tokens, spm);
      // SPM: the prefix stands before the middle, without a mark between them, so the text is again whole.
      ASSERT_EQ(text, Tokens(whole.begin(), whole.end() - 3)) << "draw " << draw;
    }
}

TEST(FillInMiddle, CutsEverywhereAndAsOftenAsAsked) {
  const RandomStream random(4, "test");
  const Tokens whole = counting(13); // ten tokens are cut at two of eleven places
  constexpr int draws = 40'000;
  int rearranged = 0, without_prefix = 0;
  std::set<std::ptrdiff_t> prefixes;
  for (std::uint64_t draw = 0; draw < draws; ++draw) {
    Tokens tokens = whole;
    if (!fill_in_middle(settings_of(0.3, 0.5), random.block(draw), tokens)) {
      ASSERT_EQ(tokens, whole);
      continue;
    }
    ++rearranged;
    without_prefix += tokens[1] == suffix;
    prefixes.insert(std::find(tokens.begin(), tokens.end(), suffix) - tokens.begin() - 1);
  }
  EXPECT_NEAR(rearranged, 0.3 * draws, 6 * 92); // six standard deviations
  EXPECT_EQ(prefixes.size(), 11u);
  // SPM, or PSM with an empty prefix: one of its two cuts is at 0.
  const double empty = 1 - (10.0 / 11) * (10.0 / 11);
  EXPECT_NEAR(without_prefix, rearranged * (0.5 + 0.5 * empty), 6 * 54);
}

TEST(FillInMiddle, LeavesShortDocumentsAlone) {
  for (int length = 0; length <= 3; ++length) {
    Tokens tokens = counting(length);
    EXPECT_FALSE(fill_in_middle(settings_of(1, 0), {0, 0, 0, 0}, tokens));
    EXPECT_EQ(tokens, counting(length));
  }
}

} // namespace
} // namespace conclave::data
