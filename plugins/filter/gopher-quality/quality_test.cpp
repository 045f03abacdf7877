// Tests of filter/gopher-quality: each measure on texts counted by hand, repetition against brute force, each rule.

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "statistics.hpp"

namespace conclave::quality {
namespace {

TEST(Statistics, CountedByHand) {
  StatisticsMeter meter;
  const Statistics s = meter("# The cat and 42 dogs ...\n- to be\n\n- to be\nwait…\n");
  EXPECT_EQ(s.words, 14); // # The cat and 42 dogs ... - to be - to be wait…
  EXPECT_DOUBLE_EQ(s.mean_word_length, (1 + 3 + 3 + 3 + 2 + 4 + 3 + 1 + 2 + 2 + 1 + 2 + 2 + 5) / 14.0);
  EXPECT_DOUBLE_EQ(s.hashes_per_word, 1 / 14.0);
  EXPECT_DOUBLE_EQ(s.ellipses_per_word, 2 / 14.0);
  EXPECT_DOUBLE_EQ(s.bullet_lines, 2 / 4.0);
  EXPECT_DOUBLE_EQ(s.ellipsis_lines, 2 / 4.0);
  EXPECT_DOUBLE_EQ(s.words_with_letter, 9 / 14.0);
  EXPECT_EQ(s.stop_words, 4); // the and to be
  EXPECT_DOUBLE_EQ(s.repeated_lines, 1 / 4.0);
  EXPECT_DOUBLE_EQ(s.repeated_line_characters, 7 / (25 + 7 + 7 + 5.0));
  EXPECT_DOUBLE_EQ(s.repeated_paragraphs, 0);
}

TEST(Statistics, EmptyTextHasNoRatios) {
  StatisticsMeter meter;
  for (const std::string& text :
       {std::string(), std::string("\n \n"), std::string(100, '\xFF'), std::string(50, '\0')}) {
    const Statistics s = meter(text);
    for (const double value :
         {s.mean_word_length, s.bullet_lines, s.repeated_lines, s.top_ngrams[0], s.repeated_ngrams[5]})
      EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Statistics, RepeatedParagraphs) {
  StatisticsMeter meter;
  const Statistics s = meter("one two\nthree\n\nother\n\n one two \nthree\n");
  EXPECT_DOUBLE_EQ(s.repeated_paragraphs, 1 / 3.0);
  EXPECT_DOUBLE_EQ(s.repeated_paragraph_characters, 12 / 29.0);
}

/// The same measures by their definitions, on words as strings and positions as sets.
struct BruteForce {
  std::vector<std::string> words;
  [[nodiscard]] std::string ngram(std::size_t at, std::size_t n) const {
    std::string text;
    for (std::size_t i = at; i < at + n; ++i) text += words[i] + " ";
    return text;
  }
  [[nodiscard]] double share(const std::vector<bool>& covered) const {
    double part = 0, whole = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
      whole += static_cast<double>(words[i].size());
      if (covered[i]) part += static_cast<double>(words[i].size());
    }
    return part / whole;
  }
  [[nodiscard]] double top(std::size_t n) const {
    std::map<std::string, std::vector<std::size_t>> at;
    for (std::size_t i = 0; i + n <= words.size(); ++i) at[ngram(i, n)].push_back(i);
    std::size_t most = 1;
    for (const auto& [text, places] : at) most = std::max(most, places.size());
    double best = 0;
    for (const auto& [text, places] : at) {
      if (places.size() != most || most < 2) continue;
      std::vector<bool> covered(words.size());
      for (const std::size_t place : places) std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(place), n, true);
      best = std::max(best, share(covered));
    }
    return best;
  }
  [[nodiscard]] double repeated(std::size_t n) const {
    std::map<std::string, int> seen;
    std::vector<bool> covered(words.size());
    for (std::size_t i = 0; i + n <= words.size(); ++i)
      if (seen[ngram(i, n)]++ > 0) std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(i), n, true);
    return share(covered);
  }
};

TEST(Repetition, AgreesWithBruteForce) {
  std::mt19937 random(7);
  StatisticsMeter meter;
  for (int trial = 0; trial < 200; ++trial) {
    BruteForce brute;
    const unsigned vocabulary = 2 + random() % 8; // few words, so that everything repeats
    const std::size_t count = 1 + random() % 120;
    for (std::size_t i = 0; i < count; ++i) brute.words.push_back(std::string(1 + random() % vocabulary, 'a') + "b");
    const Statistics s = meter(brute.ngram(0, count));
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(s.top_ngrams[i], brute.top(top_ngram_sizes[i]), 1e-12) << trial << " " << i;
    for (std::size_t i = 0; i < 6; ++i)
      EXPECT_NEAR(s.repeated_ngrams[i], brute.repeated(repeated_ngram_sizes[i]), 1e-12) << trial;
  }
}

std::string prose() {
  std::string text;
  for (int i = 0; i < 30; ++i)
    text += "Sentence number " + std::string(1, static_cast<char>('a' + i % 26)) +
            std::string(1, static_cast<char>('k' + i % 13)) + " speaks of the " +
            std::string(static_cast<std::size_t>(3 + i % 9), static_cast<char>('b' + i % 24)) +
            " things that people have " +
            std::string(static_cast<std::size_t>(2 + i % 7), static_cast<char>('c' + i % 22)) + " seen.\n";
  return text;
}

std::string verdict(const std::string& text, const Value& with = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-quality"), host, with);
  if (!made.ok()) return made.error().render();
  return testkit::verdicts(**made, {text})[0];
}

std::string repeat(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

TEST(Rules, EachDropsItsOwnKindOfText) {
  // Thresholds of repetition are opened, so that each rule is seen alone.
  const Value loose = testkit::map({{"max_repeated_lines", 1},
                                    {"max_repeated_paragraphs", 1},
                                    {"max_repeated_line_characters", 1},
                                    {"max_repeated_paragraph_characters", 1},
                                    {"max_top_ngrams", testkit::list({1, 1, 1})},
                                    {"max_repeated_ngrams", testkit::list({1, 1, 1, 1, 1, 1})}});
  EXPECT_EQ(verdict(prose(), loose), "");
  EXPECT_EQ(verdict("short", loose), "too-few-words");
  EXPECT_EQ(verdict(repeat("the of word ", 34'000), loose), "too-many-words");
  EXPECT_EQ(verdict(repeat("a ", 100), loose), "word-length");
  EXPECT_EQ(verdict(repeat("incomprehensibilities the ", 60), loose), "word-length");
  EXPECT_EQ(verdict(repeat("# the word and that word of word ", 20), loose), "symbols");
  EXPECT_EQ(verdict(repeat("- these words of that kind\n", 20), loose), "bullets");
  EXPECT_EQ(verdict(repeat("the word of that and so many more words here...\n", 20), loose), "ellipses");
  EXPECT_EQ(verdict(repeat("12345 45678 the of\n", 20), loose), "few-letters");
  EXPECT_EQ(verdict(repeat("keine deutschen Woerter zaehlen hier\n", 20), loose), "few-stop-words");
}

/// Words that occur once: of numbers from `begin` up to `end`.
std::string words_of(int begin, int end) {
  std::string text;
  for (int i = begin; i < end; ++i)
    text += std::string("word") + static_cast<char>('a' + i / 26) + static_cast<char>('a' + i % 26) + " ";
  return text;
}

TEST(Rules, RepetitionDropsWhatRepeats) {
  // Two of four paragraphs came before, but only two of 33 lines.
  EXPECT_EQ(verdict(prose() + repeat("\nA paragraph of its own.\n", 3),
                    testkit::map({{"max_top_ngrams", testkit::list({1, 1, 1})},
                                  {"max_repeated_ngrams", testkit::list({1, 1, 1, 1, 1, 1})}})),
            "repeated-paragraphs");
  // A passage of 60 words twice among 100 others: no line, paragraph or short run of words stands out.
  const std::string passage =
      "The " + words_of(0, 60) + "\n" + words_of(60, 160) + "of \n" + words_of(0, 60) + "that\n";
  EXPECT_EQ(verdict(passage), "repeated-ngrams");
  EXPECT_EQ(verdict(passage, testkit::map({{"max_repeated_ngrams", testkit::list({1, 1, 1, 1, 1, 1})}})), "");
  EXPECT_EQ(verdict(repeat("The same line of words that people have\n", 20)), "repeated-lines");
  EXPECT_EQ(verdict(repeat("of the things and ", 40)), "top-ngram");
}

TEST(Rules, AThresholdIsASelectionOption) {
  for (const OptionSpec& spec : testkit::this_library("filter/gopher-quality").options.specs())
    EXPECT_EQ(spec.affects, Affects::selection) << spec.name;
}

TEST(Columns, AreAllWrittenAndMatchTheirTypes) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-quality"), host);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(testkit::annotate(**made, {prose(), "", "\xFF"}).complete());
}

} // namespace
} // namespace conclave::quality
