// Tests of filter/c4: each rule for lines by its edit, each rule for texts by its verdict.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "lines.hpp"

namespace conclave::c4 {
namespace {

std::shared_ptr<Filter> make(const Value& with = {}) {
  static testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/c4"), host, with);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().render());
  return made.ok() ? *made : nullptr;
}

/// What is left of a text, or "as it was".
std::string left_of(const std::string& text, const std::string& language = "", const Value& with = {}) {
  std::string out;
  const auto filter = make(with);
  const bool changed =
      dynamic_cast<const EditFilter&>(*filter).edit({.id = "doc#0", .text = text, .language = language}, out);
  return changed ? out : "as it was";
}

TEST(Lines, ThatLeave) {
  const std::string good = "This is a line that stays.";
  for (const std::string& bad :
       {std::string("No mark at its end"), std::string("It trails off..."), std::string("Two words."), std::string(),
        "A word " + std::string(1001, 'x') + " too long.", std::string("Please enable JavaScript to read this."),
        std::string("This site uses cookies for you.")})
    EXPECT_EQ(left_of(good + "\n" + bad + "\n  Another line that \"stays\"\n"), good + "\nAnother line that \"stays\"")
        << bad;
  EXPECT_EQ(left_of(good + "\n" + good), "as it was");
  EXPECT_EQ(left_of("Nothing is left"), "");
}

TEST(Lines, CitationsAreCutOut) {
  EXPECT_EQ(left_of("It was so[12] in all[edit] of[citation needed] them [x].[]"), "It was so in all of them [x].");
  EXPECT_EQ(left_of("It was so[12] in all.", "", testkit::map({{"citations", false}})), "as it was");
}

TEST(Lines, EndAsTheirLanguageDoes) {
  EXPECT_EQ(left_of("这是一行中文。\n这里没有句号", "zh-Hans"), "这是一行中文。");
  EXPECT_EQ(left_of("这是一行中文。\n这里没有句号"), "");
  EXPECT_EQ(left_of("no mark here\n", "", testkit::map({{"end_marks", testkit::map({{"", testkit::list({})}})}})),
            "no mark here");
}

std::string verdict(const std::string& text, const Value& with = {}) {
  return testkit::verdicts(*make(with), {text})[0];
}

TEST(Texts, ThatAreDropped) {
  const std::string four = "One is here. Two is here! Is three here? Four is here.\n";
  EXPECT_EQ(verdict(four), "few-sentences");
  EXPECT_EQ(verdict(four + "This is the fifth one.\n"), "");
  EXPECT_EQ(verdict(four + "This is the fifth one, but without a mark\n"), "few-sentences");
  EXPECT_EQ(verdict(four + four + "Then {this} is here.\n"), "curly-bracket");
  EXPECT_EQ(verdict(four + four + "Then {this is not looked at\n"), "");
  EXPECT_EQ(verdict(four + four + "And Lorem Ipsum dolor sit.\n"), "lorem-ipsum");
  EXPECT_EQ(verdict(four + "Then {this} is here.\n", testkit::map({{"curly_brackets", false}, {"min_sentences", 1}})),
            "");
}

TEST(Columns, AreAllWrittenAndMatchTheirTypes) {
  EXPECT_TRUE(testkit::annotate(*make(), {"a text of words.", "", "\xFF"}).complete());
}

} // namespace
} // namespace conclave::c4
