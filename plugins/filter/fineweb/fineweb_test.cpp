// Tests of filter/fineweb: each measure by hand, each rule.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

std::shared_ptr<Filter> make(const Value& with = {}) {
  static testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/fineweb"), host, with);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().render());
  return made.ok() ? *made : nullptr;
}

TEST(FineWeb, CountedByHand) {
  const auto columns =
      testkit::annotate(*make(), {"A line of more than thirty characters.\nshort。\n\n \nshort。\nno mark\n"});
  const auto row = columns.row(0);
  EXPECT_EQ(row.integer(1), 4);
  EXPECT_DOUBLE_EQ(row.real(2), 3 / 4.0);
  EXPECT_DOUBLE_EQ(row.real(3), 3 / 4.0);
  EXPECT_DOUBLE_EQ(row.real(4), 6 / (38.0 + 6 + 1 + 6 + 7));
  EXPECT_DOUBLE_EQ(row.real(5), 6 / 14.0); // 8 words and marks, 2, 2 and 2
}

std::string verdict(const std::string& text, const std::string& language = "") {
  const auto filter = make();
  const Document document{.id = "doc#0", .text = text, .language = language};
  testkit::MemoryColumns columns(filter->columns(), 1);
  filter->annotate({&document, 1}, columns);
  const Verdict found = filter->select(columns.row(0));
  return found.reason == nullptr ? "" : found.reason;
}

TEST(FineWeb, EachRuleDropsItsOwnKindOfText) {
  const std::string line = "A line of text that is long enough and ends as it should";
  EXPECT_EQ(verdict(line + ".\n" + line + "!\n"), "");
  EXPECT_EQ(verdict("\n \n"), "empty");
  EXPECT_EQ(verdict(line + "\n" + line + "\n"), "few-ended-lines");
  EXPECT_EQ(verdict(line + ".\nHome.\nContact.\nMore.\n"), "short-lines");
  EXPECT_EQ(verdict(line + ".\n" + line + ".\n"), "repeated-lines");
  EXPECT_EQ(verdict("One of the incomprehensibilities.\nTwo of the incomprehensibilities.\n\n\n\n"), "many-lines");
}

TEST(FineWeb, ChineseHasThresholdsOfItsOwn) {
  // One line end for 5 words: too many for Chinese.
  const std::string text = "One of the incomprehensibilities.\n";
  EXPECT_EQ(verdict(text), "");
  EXPECT_EQ(verdict(text, "zh"), "many-lines");
}

TEST(FineWeb, ColumnsAreAllWritten) {
  EXPECT_TRUE(testkit::annotate(*make(), {"a text of words.", "", "\xFF"}).complete());
}

} // namespace
} // namespace conclave
