// Tests of filter/minhash: the signature against its definition, its chances against theory, the filter on planted copies.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "signature.hpp"

namespace conclave::minhash {
namespace {

using Words = std::vector<std::string>;

Words random_words(std::mt19937_64& random, std::size_t count) {
  Words words;
  for (std::size_t i = 0; i < count; ++i) words.push_back("w" + std::to_string(random() % 5000));
  return words;
}
std::string join(const Words& words) {
  std::string text;
  for (const auto& word : words) text += word + " ";
  return text;
}
/// A copy with about one word in `every` replaced.
Words changed(std::mt19937_64& random, Words words, std::size_t every) {
  for (auto& word : words)
    if (random() % every == 0) word = "n" + std::to_string(random() % 100000);
  return words;
}
double jaccard(const Words& a, const Words& b, std::size_t ngram) {
  const auto shingles = [ngram](const Words& words) {
    std::set<Words> all;
    for (std::size_t i = 0; i + ngram <= words.size(); ++i)
      all.emplace(words.begin() + static_cast<std::ptrdiff_t>(i),
                  words.begin() + static_cast<std::ptrdiff_t>(i + ngram));
    return all;
  };
  const auto one = shingles(a), two = shingles(b);
  std::size_t common = 0;
  for (const auto& shingle : one) common += two.contains(shingle);
  return static_cast<double>(common) / static_cast<double>(one.size() + two.size() - common);
}

TEST(Signer, MinimaAreTheLeastValueOfEachFunction) {
  std::mt19937_64 random(1);
  for (const Shape shape : {Shape{5, 14, 8}, Shape{1, 1, 1}, Shape{3, 5, 5}, Shape{2, 16, 4}}) {
    Signer sign(shape);
    for (const std::size_t count : {5u, 6u, 17u, 1000u}) {
      sign(join(random_words(random, count)));
      ASSERT_EQ(sign.shingles().size(), count + 1 - static_cast<std::size_t>(shape.ngram));
      ASSERT_EQ(sign.minima().size(), static_cast<std::size_t>(shape.bands * shape.rows));
      for (std::size_t i = 0; i < sign.minima().size(); ++i) {
        const auto [factor, term] = sign.function(i);
        EXPECT_EQ(factor % 2, 1u);
        std::vector<std::int64_t> values;
        for (const std::uint64_t x : sign.shingles()) values.push_back(static_cast<std::int64_t>(x * factor + term));
        EXPECT_EQ(sign.minima()[i], *std::ranges::min_element(values)) << i;
      }
    }
  }
}

TEST(Signer, DependsOnTheSetOfRunsOfWordsAlone) {
  Signer sign({.ngram = 2});
  const auto keys = [&](std::string_view text) {
    const auto found = sign(text);
    return std::vector<std::uint64_t>(found.begin(), found.end());
  };
  EXPECT_EQ(keys("The quick, brown fox!"), keys("the QUICK\nbrown   fox"));
  EXPECT_EQ(keys("a b a b a b"), keys("b a b a"));
  EXPECT_NE(keys("a b c"), keys("c b a"));
  EXPECT_TRUE(keys("one").empty());
  EXPECT_TRUE(keys("... !").empty());
  EXPECT_EQ(keys("a b c").size(), 14u);
  EXPECT_EQ(std::ranges::count(keys("a a a"), keys("a a a")[0]),
            1); // one shingle, and yet each band has a key of its own
}

/// The share of functions on which two texts agree estimates the similarity of their sets: within five standard deviations.
TEST(Signer, AgreementEstimatesTheOverlapOfTheSets) {
  std::mt19937_64 random(2);
  Signer sign({.ngram = 5, .bands = 128, .rows = 8});
  for (const std::size_t every : {400u, 100u, 40u, 20u, 8u}) {
    const Words words = random_words(random, 1500), copy = changed(random, words, every);
    const double exact = jaccard(words, copy, 5);
    sign(join(words));
    const std::vector<std::int64_t> one(sign.minima().begin(), sign.minima().end());
    sign(join(copy));
    double agree = 0;
    for (std::size_t i = 0; i < one.size(); ++i) agree += one[i] == sign.minima()[i];
    const auto n = static_cast<double>(one.size());
    EXPECT_NEAR(agree / n, exact, 5 * std::sqrt(exact * (1 - exact) / n)) << "one word in " << every;
  }
}

/// Over many pairs, as many share a key as 1 - (1 - s^rows)^bands says.
TEST(Signer, PairsMeetAsOftenAsTheBandsPromise) {
  std::mt19937_64 random(3);
  const Shape shape;
  Signer sign(shape);
  for (const std::size_t every : {60u, 30u, 20u}) {
    double met = 0, expected = 0, variance = 0;
    for (int pair = 0; pair < 400; ++pair) {
      const Words words = random_words(random, 300), copy = changed(random, words, every);
      const double similarity = jaccard(words, copy, 5);
      const double chance = 1 - std::pow(1 - std::pow(similarity, shape.rows), shape.bands);
      expected += chance;
      variance += chance * (1 - chance);
      const auto keys = sign(join(words));
      const std::vector<std::uint64_t> one(keys.begin(), keys.end());
      const auto other = sign(join(copy));
      bool shared = false;
      for (std::size_t band = 0; band < one.size(); ++band) shared |= one[band] == other[band];
      met += shared;
    }
    EXPECT_NEAR(met, expected, 5 * std::sqrt(variance)) << "one word in " << every;
    EXPECT_GT(variance, 5); // else nothing is measured
  }
}

std::shared_ptr<Filter> make(testkit::FakeHost& host, const Value& with = {}) {
  auto made = testkit::make<Filter>(testkit::this_library("filter/minhash"), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::move(made).value();
}

using Verdicts = std::vector<std::string>;

TEST(MinHashFilter, KeepsTheFirstOfNearCopies) {
  std::mt19937_64 random(4);
  const Words words = random_words(random, 500);
  Words one_changed = words, shorter(words.begin() + 20, words.end());
  one_changed[250] = "changed";
  testkit::FakeHost host;
  EXPECT_EQ(testkit::verdicts(*make(host), {join(words), join(random_words(random, 500)), join(one_changed),
                                            join(shorter), join(random_words(random, 500))}),
            (Verdicts{"", "", "near-duplicate", "near-duplicate", ""}));
}

TEST(MinHashFilter, ComparesTextWithoutSpacesByCharacters) {
  std::mt19937_64 random(5);
  std::u32string characters;
  for (int i = 0; i < 600; ++i) characters.push_back(static_cast<char32_t>(0x4E00 + random() % 3000));
  const auto utf8 = [](const std::u32string& text) {
    std::string out;
    for (const char32_t c : text) {
      out.push_back(static_cast<char>(0xE0 | (c >> 12)));
      out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
      out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
    return out;
  };
  std::u32string copy = characters, other = characters;
  copy[300] = U'\u4E00';
  std::ranges::shuffle(other, random);
  testkit::FakeHost host;
  EXPECT_EQ(testkit::verdicts(*make(host), {utf8(characters), utf8(copy), utf8(other)}),
            (Verdicts{"", "near-duplicate", ""}));
}

TEST(MinHashFilter, LeavesTextsAloneThatAreShorterThanARun) {
  testkit::FakeHost host;
  EXPECT_EQ(testkit::verdicts(*make(host), {"only four words here", "only four words here", "", ""}),
            (Verdicts{"", "", "", ""}));
  EXPECT_EQ(
      testkit::verdicts(*make(host, testkit::map({{"ngram", 4}})), {"only four words here", "only four words here"}),
      (Verdicts{"", "near-duplicate"}));
  EXPECT_EQ(testkit::verdicts(*make(host), {std::string(1000, '\xFF'), std::string(10, '\0'), "\xE2\x82"}),
            (Verdicts{"", "", ""}));
}

TEST(MinHashFilter, OnlyTheScopeSparesANewPassOverTheText) {
  const OptionTable& table = testkit::this_library("filter/minhash").options;
  for (const OptionSpec& spec : table.specs())
    EXPECT_EQ(spec.affects, spec.name == "scope" || spec.name == "dump" ? Affects::selection : Affects::numerics)
        << spec.name;
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"bands", 100}, {"rows", 100}})).ok());
}

} // namespace
} // namespace conclave::minhash
