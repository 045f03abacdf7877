// Well-formedness and repair against the tables of the Unicode standard (15.0, tables 3-7 to 3-11).

#include "data/utf8.hpp"

#include <gtest/gtest.h>

namespace conclave::data {
namespace {

#define REPLACED "\xEF\xBF\xBD"

TEST(Utf8, AcceptsTheEdgesOfEachRange) {
  for (const std::string text :
       {"", "plain ascii text of some length", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(valid_utf8_prefix(text), text.size()) << text;
}

TEST(Utf8, RefusesOverlongSurrogatesAndBeyond) {
  for (const std::string text : {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                                 "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF"})
    EXPECT_EQ(valid_utf8_prefix("12345678abc" + text), 11u);
}

TEST(Utf8, RepairsMaximalSubparts) {
  // Table 3-8: the bytes 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64.
  EXPECT_EQ(repair_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" REPLACED REPLACED REPLACED "b" REPLACED "c" REPLACED REPLACED "d");
  // Table 3-9: overlong forms, each byte on its own.
  EXPECT_EQ(repair_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            REPLACED REPLACED REPLACED REPLACED REPLACED REPLACED REPLACED REPLACED "A");
  // Table 3-11: truncated sequences, one for each.
  EXPECT_EQ(repair_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), REPLACED REPLACED REPLACED REPLACED "A");
}

TEST(Utf8, PrefixDoesNotCutACodePoint) {
  EXPECT_EQ(utf8_prefix("a\xC3\xA9z", 2), "a");
  EXPECT_EQ(utf8_prefix("a\xC3\xA9z", 3), "a\xC3\xA9");
  EXPECT_EQ(utf8_prefix("a\xC3\xA9z", 9), "a\xC3\xA9z");
  EXPECT_EQ(utf8_prefix("\xC3\xA9", 1), "");
}

} // namespace
} // namespace conclave::data
