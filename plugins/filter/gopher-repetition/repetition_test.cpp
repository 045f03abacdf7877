// Tests of filter/gopher-repetition: measures by hand, runs of words against brute force, each rule.

#include "repetition.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave::repetition {
namespace {

TEST(Repetition, LinesByHand) {
  RepetitionMeter meter;
  const Repetition r = meter("one\n two\n\none\none\nzwölf\nzwölf\n");
  EXPECT_DOUBLE_EQ(r.lines, 3 / 7.0); // the last one is empty
  EXPECT_DOUBLE_EQ(r.line_characters, (3 + 3 + 5) / 30.0);
  EXPECT_DOUBLE_EQ(r.paragraphs, 0);
}

TEST(Repetition, ParagraphsByHand) {
  RepetitionMeter meter;
  const Repetition r = meter("\none two\nthree\n\nother\n\n\none two\nthree\n");
  EXPECT_DOUBLE_EQ(r.paragraphs, 1 / 3.0);
  EXPECT_DOUBLE_EQ(r.paragraph_characters, 13 / 38.0);
}

TEST(Repetition, OfNothingIsNone) {
  RepetitionMeter meter;
  for (const std::string& text : {std::string(), std::string(" \n"), std::string("word")}) {
    const Repetition r = meter(text);
    EXPECT_EQ(r.lines + r.paragraphs + r.repeated[0] + r.repeated[5], 0) << text;
  }
}

/// The measures as datatrove's filter computes them, on strings.
struct BruteForce {
  std::vector<std::string> words;
  [[nodiscard]] std::string ngram(std::size_t at, std::size_t n, const char* between) const {
    std::string text;
    for (std::size_t i = at; i < at + n; ++i) text += (i > at ? between : "") + words[i];
    return text;
  }
  [[nodiscard]] double top(std::size_t n) const {
    if (words.size() < n) return 0;
    std::map<std::string, std::size_t> counts;
    for (std::size_t i = 0; i + n <= words.size(); ++i) ++counts[ngram(i, n, " ")];
    std::string best = ngram(0, n, " ");
    for (std::size_t i = 0; i + n <= words.size(); ++i)
      if (counts[ngram(i, n, " ")] > counts[best]) best = ngram(i, n, " ");
    return static_cast<double>(best.size() * counts[best]);
  }
  [[nodiscard]] double repeated(std::size_t n) const {
    std::set<std::string> seen;
    double sum = 0;
    for (std::size_t i = 0; i + n <= words.size();) {
      const std::string run = ngram(i, n, " ");
      if (!seen.insert(run).second) {
        sum += static_cast<double>(ngram(i, n, "").size());
        i += n;
      } else {
        ++i;
      }
    }
    return sum;
  }
};

TEST(Repetition, AgreesWithBruteForce) {
  std::mt19937 random(7);
  RepetitionMeter meter;
  for (int trial = 0; trial < 300; ++trial) {
    BruteForce brute;
    const unsigned vocabulary = 2 + random() % 8; // few words, so that everything repeats
    const std::size_t count = 1 + random() % 120;
    for (std::size_t i = 0; i < count; ++i) brute.words.push_back(std::string(1 + random() % vocabulary, 'q'));
    const std::string text = brute.ngram(0, count, " ");
    const Repetition r = meter(text);
    const auto size = static_cast<double>(text.size());
    for (std::size_t i = 0; i < r.top.size(); ++i)
      EXPECT_NEAR(r.top[i], brute.top(top_ngram_sizes[i]) / size, 1e-12) << trial << " " << i;
    for (std::size_t i = 0; i < r.repeated.size(); ++i)
      EXPECT_NEAR(r.repeated[i], brute.repeated(repeated_ngram_sizes[i]) / size, 1e-12) << trial << " " << i;
  }
}

std::string verdict(const std::string& text, const std::string& language = "", const Value& with = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-repetition"), host, with);
  if (!made.ok()) return made.error().render();
  const Document document{.id = "doc#0", .text = text, .language = language};
  testkit::MemoryColumns columns((*made)->columns(), 1);
  (*made)->annotate({&document, 1}, columns);
  const Verdict found = (*made)->select(columns.row(0));
  return found.reason == nullptr ? "" : found.reason;
}

std::string repeat(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

/// Words that occur once: of numbers from `begin` up to `end`.
std::string words_of(int begin, int end) {
  std::string text;
  for (int i = begin; i < end; ++i)
    text += std::string("word") + static_cast<char>('a' + i / 26) + static_cast<char>('a' + i % 26) + " ";
  return text;
}

TEST(Rules, EachDropsItsOwnKindOfText) {
  EXPECT_EQ(verdict(words_of(0, 60)), "");
  // Two of four paragraphs came before, but only two of 33 lines.
  std::string lines;
  for (int i = 0; i < 30; ++i) lines += words_of(20 * i, 20 * i + 20) + "\n";
  EXPECT_EQ(verdict(lines + repeat("\nA paragraph of its own.\n", 3)), "repeated-paragraphs");
  EXPECT_EQ(verdict(repeat("The same line of words that people have\n", 20)), "repeated-lines");
  EXPECT_EQ(verdict(repeat("of the things and ", 40)), "top-ngram");
  // A passage of 60 words twice among 100 others: no line, paragraph or short run of words stands out.
  const std::string passage = words_of(0, 60) + "\n" + words_of(60, 160) + "of \n" + words_of(0, 60) + "that\n";
  EXPECT_EQ(verdict(passage), "repeated-ngrams");
  EXPECT_EQ(verdict(passage, "", testkit::map({{"max_repeated_ngrams", testkit::list({1, 1, 1, 1, 1, 1})}})), "");
}

TEST(Rules, OfALanguage) {
  // 0.22 of the characters in one pair of words: too many for English, not for Chinese.
  const std::string text = words_of(0, 61) + repeat("same pair, ", 11) + words_of(61, 70);
  const double share = RepetitionMeter()(text).top[0];
  EXPECT_GT(share, 0.1);
  const Value limit =
      testkit::map({{"max_top_ngrams", testkit::list({share - 0.01, 9, 9})},
                    {"max_repeated_ngrams", testkit::list({1, 1, 1, 1, 1, 1})},
                    {"by_language", testkit::map({{"zh", testkit::map({{"max_top_2gram", share + 0.01}})}})}});
  EXPECT_EQ(verdict(text, "", limit), "top-ngram");
  EXPECT_EQ(verdict(text, "zh-Hans", limit), "");
}

TEST(Rules, AThresholdIsASelectionOption) {
  for (const OptionSpec& spec : testkit::this_library("filter/gopher-repetition").options.specs())
    EXPECT_EQ(spec.affects, Affects::selection) << spec.name;
}

TEST(Columns, AreAllWrittenAndMatchTheirTypes) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-repetition"), host);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(testkit::annotate(**made, {"a text of words", "", "\xFF"}).complete());
}

} // namespace
} // namespace conclave::repetition
