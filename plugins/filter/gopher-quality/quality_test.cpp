// Tests of filter/gopher-quality: each measure on texts counted by hand, each rule, languages.

#include <gtest/gtest.h>

#include <cmath>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "statistics.hpp"

namespace conclave::quality {
namespace {

const StopWords stop_words = {{"", {"the", "be", "to", "of", "and", "that", "have", "with"}}, {"zh", {"的", "是"}}};

TEST(Statistics, CountedByHand) {
  StatisticsMeter meter(stop_words);
  const Statistics s = meter("# The cat and 42 dogs ...\n- to be\n\n- to be\nwait…\n", "");
  // Marks: # ... - - …
  EXPECT_EQ(s.words, 10); // The cat and 42 dogs to be to be wait
  EXPECT_DOUBLE_EQ(s.mean_word_length, (3 + 3 + 3 + 2 + 4 + 2 + 2 + 2 + 2 + 4) / 10.0);
  EXPECT_DOUBLE_EQ(s.hashes_per_word, 1 / 15.0);
  EXPECT_DOUBLE_EQ(s.ellipses_per_word, 2 / 15.0);
  EXPECT_DOUBLE_EQ(s.bullet_lines, 2 / 5.0);
  EXPECT_DOUBLE_EQ(s.ellipsis_lines, 2 / 5.0);
  EXPECT_DOUBLE_EQ(s.words_with_letter, 9 / 15.0);
  EXPECT_EQ(s.stop_words, 3); // and to be
}

TEST(Statistics, EmptyTextHasNoRatios) {
  StatisticsMeter meter(stop_words);
  for (const std::string& text :
       {std::string(), std::string("\n \n"), std::string(100, '\xFF'), std::string(50, '\0')}) {
    const Statistics s = meter(text, "");
    for (const double value : {s.mean_word_length, s.bullet_lines, s.words_with_letter})
      EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Statistics, StopWordsAreOfTheLanguage) {
  StatisticsMeter meter(stop_words);
  EXPECT_EQ(meter("他们的书是新的，the", "zh-Hans").stop_words, 2);
  EXPECT_EQ(meter("the book and more", "").stop_words, 2);
  EXPECT_EQ(meter("the book and more", "fi").stop_words, -1);
}

std::string repeat(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

std::string verdict(const std::string& text, const std::string& language = "", const Value& with = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-quality"), host, with);
  if (!made.ok()) return made.error().render();
  const Document document{.id = "doc#0", .text = text, .language = language};
  testkit::MemoryColumns columns((*made)->columns(), 1);
  (*made)->annotate({&document, 1}, columns);
  const Verdict found = (*made)->select(columns.row(0));
  return found.reason == nullptr ? "" : found.reason;
}

const std::string chinese = "这是关于软件的书，它也是为有经验的人写的，他们在工作中由此得到帮助。\n";

TEST(Rules, EachDropsItsOwnKindOfText) {
  EXPECT_EQ(verdict(repeat("Some words that people have seen, and more of the kind.\n", 10)), "");
  EXPECT_EQ(verdict("short"), "too-few-words");
  EXPECT_EQ(verdict(repeat("the of word ", 34'000)), "too-many-words");
  EXPECT_EQ(verdict(repeat("a ", 100)), "word-length");
  EXPECT_EQ(verdict(repeat("incomprehensibilities the ", 60)), "word-length");
  EXPECT_EQ(verdict(repeat("# the word and that word of word ", 20)), "symbols");
  EXPECT_EQ(verdict(repeat("- these words of that kind\n", 20)), "bullets");
  EXPECT_EQ(verdict(repeat("the word of that and so many more words here...\n", 20)), "ellipses");
  EXPECT_EQ(verdict(repeat("12345 45678 the of\n", 20)), "few-letters");
  EXPECT_EQ(verdict(repeat("keine deutschen Woerter zaehlen hier\n", 20)), "few-stop-words");
}

TEST(Rules, OfALanguage) {
  EXPECT_EQ(verdict(repeat(chinese, 10), "zh"), "");
  EXPECT_EQ(verdict(repeat(chinese, 10)), "word-length"); // judged as English
  EXPECT_EQ(verdict(repeat("keine deutschen Woerter zaehlen hier\n", 20), "de"), "");
  EXPECT_EQ(verdict(repeat(chinese, 10), "zh",
                    testkit::map({{"by_language", testkit::map({{"zh", testkit::map({{"min_words", 1000}})}})}})),
            "too-few-words");
  EXPECT_NE(
      verdict("x", "zh", testkit::map({{"by_language", testkit::map({{"zh", testkit::map({{"min_wrods", 1}})}})}}))
          .find("there is no such threshold"),
      std::string::npos);
}

TEST(Rules, AThresholdIsASelectionOption) {
  for (const OptionSpec& spec : testkit::this_library("filter/gopher-quality").options.specs())
    EXPECT_EQ(spec.affects, spec.name == "stop_words" ? Affects::numerics : Affects::selection) << spec.name;
}

TEST(Columns, AreAllWrittenAndMatchTheirTypes) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/gopher-quality"), host);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(testkit::annotate(**made, {chinese, "", "\xFF"}).complete());
}

} // namespace
} // namespace conclave::quality
