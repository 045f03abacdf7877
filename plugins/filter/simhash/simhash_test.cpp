// Tests of filter/simhash: the print against its definition, the keys against brute force, the filter against planted copies.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <set>

#include "blocks.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "fingerprint.hpp"

namespace conclave::simhash {
namespace {

TEST(BitCounter, CountsAndMajorityAgreeWithPlainCounting) {
  std::mt19937_64 random(1);
  for (const int n : {0, 1, 2, 3, 64, 1000, 4097}) {
    BitCounter counter;
    std::array<std::uint64_t, 64> plain{};
    for (int i = 0; i < n; ++i) {
      const std::uint64_t first = random(), bits = first & random();
      counter.add(bits);
      for (int bit = 0; bit < 64; ++bit) plain[static_cast<std::size_t>(bit)] += bits >> bit & 1;
    }
    std::uint64_t majority = 0;
    for (int bit = 0; bit < 64; ++bit) {
      ASSERT_EQ(counter.count(bit), plain[static_cast<std::size_t>(bit)]);
      if (2 * plain[static_cast<std::size_t>(bit)] > static_cast<std::uint64_t>(n)) majority |= std::uint64_t{1} << bit;
    }
    EXPECT_EQ(counter.majority(), majority);
  }
}

TEST(Fingerprinter, DependsOnWordsAlone) {
  Fingerprinter print(3);
  const auto a = print("The quick brown fox -- jumps; over the lazy dog!");
  const auto b = print("the QUICK brown\nfox jumps over   the lazy dog");
  EXPECT_EQ(a.bits, b.bits);
  EXPECT_EQ(a.features, 7);
  EXPECT_NE(a.bits, print("the lazy dog jumps over the quick brown fox").bits); // order counts
  EXPECT_EQ(print("...").features, 0);
  EXPECT_EQ(print("two words").features, 1);
}

/// Every pair within the distance shares a key. Pairs are made at each distance around random prints.
TEST(BlockKeys, BringTogetherEveryPairWithinTheDistance) {
  std::mt19937_64 random(2);
  for (const auto& [distance, blocks] : {std::pair{0, 1}, {1, 2}, {3, 4}, {3, 6}, {5, 6}, {7, 8}, {12, 13}}) {
    const BlockKeys keys(distance, blocks);
    EXPECT_EQ(static_cast<std::int64_t>(keys.tables()), choose(blocks, distance));
    for (int trial = 0; trial < 3000; ++trial) {
      const std::uint64_t a = random();
      std::uint64_t b = a;
      const int flips = trial % (distance + 1);
      while (std::popcount(a ^ b) < flips) b ^= std::uint64_t{1} << (random() % 64);
      if (std::popcount(a ^ b) > distance) continue;
      std::vector<DedupKey> ka, kb;
      keys.append(a, ka);
      keys.append(b, kb);
      std::set<std::uint64_t> seen;
      for (const DedupKey& key : ka) seen.insert(key.key);
      EXPECT_TRUE(std::ranges::any_of(kb, [&](const DedupKey& key) { return seen.contains(key.key); }))
          << "distance " << distance << " blocks " << blocks;
    }
  }
}

TEST(BlockKeys, KeepStrangersApart) {
  std::mt19937_64 random(3);
  const BlockKeys keys(3, 6); // 31 or 32 bits agree by chance once in billions
  std::set<std::uint64_t> seen;
  std::size_t all = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<DedupKey> some;
    keys.append(random(), some);
    all += some.size();
    for (const DedupKey& key : some) seen.insert(key.key);
  }
  EXPECT_GE(seen.size() + 2, all);
}

std::shared_ptr<DedupFilter> make(testkit::FakeHost& host, const Value& with = {}) {
  auto made = testkit::make<Filter>(testkit::this_library("filter/simhash"), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::dynamic_pointer_cast<DedupFilter>(std::move(made).value());
}

/// Prose of random words from a vocabulary of 5000.
std::vector<std::string> random_words(std::mt19937_64& random, std::size_t count) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < count; ++i) words.push_back("w" + std::to_string(random() % 5000));
  return words;
}
std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += word + " ";
  return text;
}

/// The first document of each cluster stays and no other: what brute force over all pairs says.
TEST(SimHashFilter, AgreesWithComparingAllPairs) {
  std::mt19937_64 random(4);
  std::vector<std::string> texts;
  for (int family = 0; family < 60; ++family) {
    auto words = random_words(random, 400);
    texts.push_back(join(words));
    for (int copy = 0; copy < 3; ++copy) {
      for (int change = 0; change < copy * 3; ++change)
        words[random() % words.size()] = "changed" + std::to_string(random() % 1000);
      texts.push_back(join(words));
    }
  }
  std::shuffle(texts.begin(), texts.end(), random);
  Fingerprinter print(3);
  std::vector<std::uint64_t> prints;
  for (const auto& text : texts) prints.push_back(print(text).bits);

  testkit::FakeHost host;
  for (const int distance : {0, 3, 6}) {
    std::vector<std::size_t> first(texts.size()); // of the cluster
    for (std::size_t i = 0; i < texts.size(); ++i) first[i] = i;
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < texts.size(); ++i)
        for (std::size_t j = 0; j < texts.size(); ++j) {
          if (std::popcount(prints[i] ^ prints[j]) > distance || first[j] >= first[i]) continue;
          first[i] = first[j];
          changed = true;
        }
    }
    const auto found = testkit::verdicts(*make(host, testkit::map({{"distance", distance}})), texts);
    std::size_t dropped = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(found[i].empty(), first[i] == i) << i << ", distance " << distance;
      dropped += !found[i].empty();
    }
    EXPECT_GT(dropped, 40u); // the test would otherwise prove nothing
  }
}

TEST(SimHashFilter, ShortDocumentsAreLeftAlone) {
  testkit::FakeHost host;
  const std::vector<std::string> texts(3, "five words are too few");
  EXPECT_EQ(testkit::verdicts(*make(host), texts), (std::vector<std::string>{"", "", ""}));
  EXPECT_EQ(testkit::verdicts(*make(host, testkit::map({{"min_features", 1}})), texts),
            (std::vector<std::string>{"", "near-duplicate", "near-duplicate"}));
}

TEST(SimHashFilter, SurvivesBytesThatAreNoText) {
  testkit::FakeHost host;
  const auto filter = make(host, testkit::map({{"min_features", 1}}));
  const auto found = testkit::verdicts(*filter, {"", std::string(1000, '\xFF'), std::string(10, '\0'), "\xE2\x82"});
  EXPECT_EQ(found, (std::vector<std::string>{"", "", "", ""}));
}

TEST(SimHashFilter, RefusesBlocksThatCannotWork) {
  const OptionTable& table = testkit::this_library("filter/simhash").options;
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"distance", 3}, {"blocks", 3}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"distance", 5}, {"blocks", 16}})).ok());
  EXPECT_TRUE(testkit::bind_options(table, testkit::map({{"distance", 3}, {"blocks", 6}})).ok());
}

TEST(SimHashFilter, OnlyTheFeaturesNeedANewPassOverTheText) {
  for (const OptionSpec& spec : testkit::this_library("filter/simhash").options.specs())
    EXPECT_EQ(spec.affects, spec.name == "ngram" ? Affects::numerics : Affects::selection) << spec.name;
}

} // namespace
} // namespace conclave::simhash
