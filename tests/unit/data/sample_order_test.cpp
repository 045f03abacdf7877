// The order of a domain's samples over stages: each window once a pass, whatever the stages cut it into.

#include "data/sample_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "conclave/random.hpp"

namespace conclave::data {
namespace {

std::vector<PlacedId> ids_of(const SampleOrder& order, std::int64_t first, std::int64_t last) {
  std::vector<PlacedId> ids;
  order.append(first, last, ids);
  return ids;
}

TEST(SampleOrder, EachPassIsAPermutationOfItsOwn) {
  const std::int64_t windows = 103;
  const SampleOrder order(7, "web", windows, {});
  const auto ids = ids_of(order, 0, 3 * windows);
  std::vector<std::vector<std::int64_t>> passes(3);
  for (std::size_t n = 0; n < ids.size(); ++n) {
    ASSERT_EQ(ids[n].pass, static_cast<std::int64_t>(n) / windows);
    passes[n / static_cast<std::size_t>(windows)].push_back(ids[n].sample);
  }
  for (const auto& pass : passes)
    EXPECT_EQ(std::set<std::int64_t>(pass.begin(), pass.end()).size(), static_cast<std::size_t>(windows));
  EXPECT_NE(passes[0], passes[1]);
  EXPECT_NE(passes[1], passes[2]);
}

TEST(SampleOrder, AnyStretchIsThatOfTheWhole) {
  StageSpan span;
  span.begin = 37;
  span.pieces = 4;
  const SampleOrder order(7, "web", 50, span);
  const auto whole = ids_of(order, 0, 1000);
  const RandomStream random(1, "stretches");
  for (std::uint64_t trial = 0; trial < 100; ++trial) {
    const auto first = static_cast<std::int64_t>(random.below(2 * trial, 1000));
    const auto last =
        first + static_cast<std::int64_t>(random.below(2 * trial + 1, 1001 - static_cast<std::uint64_t>(first)));
    const auto part = ids_of(order, first, last);
    ASSERT_EQ(static_cast<std::int64_t>(part.size()), last - first);
    for (std::size_t n = 0; n < part.size(); ++n) {
      EXPECT_EQ(part[n].sample, whole[static_cast<std::size_t>(first) + n].sample);
      EXPECT_EQ(part[n].pass, whole[static_cast<std::size_t>(first) + n].pass);
    }
  }
}

// Stages of hostile lengths, over several passes: in units of the shortest piece no text comes twice in a pass, and in
// the passes that are over little is missing: less than a window at the end of each stage.
TEST(SampleOrder, StagesGoOnWhereTheOneBeforeEnded) {
  const RandomStream random(5, "stages");
  std::uint64_t draw = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t windows = 1 + static_cast<std::int64_t>(random.below(draw++, 40)), units = 8;
    std::map<std::int64_t, std::set<std::int64_t>> seen; // by pass
    std::int64_t begin = 0;
    const int stages = 1 + static_cast<int>(random.below(draw++, 5));
    for (int s = 0; s < stages; ++s) {
      StageSpan span;
      span.stage = s;
      span.begin = begin;
      span.pieces = std::int64_t{1} << random.below(draw++, 4);
      const auto samples =
          static_cast<std::int64_t>(random.below(draw++, static_cast<std::uint64_t>(3 * windows * span.pieces)));
      begin += (samples + span.pieces - 1) / span.pieces;
      if (s + 1 < stages) span.end = begin;
      const SampleOrder order(3, "web", windows, span);
      EXPECT_EQ(order.window_after(samples), begin);
      const std::int64_t wide = units / span.pieces;
      for (const auto& [pass, sample] : ids_of(order, 0, samples)) {
        ASSERT_LT(sample, windows * span.pieces);
        for (std::int64_t unit = sample * wide; unit < (sample + 1) * wide; ++unit)
          ASSERT_TRUE(seen[pass].insert(unit).second) << "trial " << trial << " stage " << s << " unit " << unit;
      }
    }
    for (const auto& [pass, given] : seen) {
      if (pass >= begin / windows) continue;
      EXPECT_GT(static_cast<std::int64_t>(given.size()), windows * units - stages * units);
    }
  }
}

TEST(SampleOrder, PiecesOfAWindowAreSpreadOverTheStage) {
  StageSpan span;
  span.end = 1000;
  span.pieces = 8;
  const auto ids = ids_of(SampleOrder(9, "web", 5000, span), 0, 8000);
  int neighbours = 0;
  for (std::size_t n = 1; n < ids.size(); ++n) neighbours += ids[n].sample / 8 == ids[n - 1].sample / 8;
  EXPECT_LT(neighbours, 30); // about 7 of 8000 by chance
}

} // namespace
} // namespace conclave::data
