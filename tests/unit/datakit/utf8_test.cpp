// Tests of datakit's UTF-8 and words.

#include "conclave/datakit/utf8.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace conclave::datakit {
namespace {

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(code, text);
    std::size_t position = 0;
    ASSERT_EQ(decode(text, position), code);
    ASSERT_EQ(position, text.size());
  }
}

TEST(Utf8, RefusesWhatTheStandardRefuses) {
  // Overlong forms, surrogates, beyond U+10FFFF, lone and missing continuation bytes.
  for (const char* bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xBF", "\xE2\x82", "\xE2\x82z", "\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad)) << bad;
    std::size_t position = 0;
    EXPECT_EQ(decode(bad, position), replacement_character);
    EXPECT_EQ(position, 1u);
  }
  EXPECT_TRUE(is_valid_utf8("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xEF\xBF\xBD"));
}

TEST(Utf8, AStepOverIllFormedBytesIsTheirMaximalSubpart) {
  // Table 3-11 of Unicode 15: E1 80 | E2 | F0 91 92 | F1 BF | 41.
  const std::string text = "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41";
  std::vector<std::size_t> lengths;
  for (std::size_t at = 0; at < text.size(); at += lengths.back()) {
    const Utf8Step step = step_utf8(text, at);
    EXPECT_EQ(step.valid, text[at] == 'A');
    EXPECT_EQ(step.code, step.valid ? U'A' : replacement_character);
    lengths.push_back(step.length);
  }
  EXPECT_EQ(lengths, (std::vector<std::size_t>{2, 1, 3, 2, 1}));
}

TEST(Utf8, BoundariesDoNotCutCharacters) {
  const std::string text =
      "a\xE2\x82\xAC"
      "b"; // a € b
  EXPECT_EQ(character_boundary(text, 1), 1u);
  EXPECT_EQ(character_boundary(text, 2), 1u);
  EXPECT_EQ(character_boundary(text, 3), 1u);
  EXPECT_EQ(character_boundary(text, 4), 4u);
  EXPECT_EQ(character_boundary(text, 99), 5u);
  EXPECT_EQ(character_boundary(std::string(20, '\x80'), 10), 10u); // no character at all: cut anyway
}

TEST(Utf8, Windows1252) { EXPECT_EQ(windows_1252_to_utf8("\x80 \xE4 \x81 a"), "\xE2\x82\xAC \xC3\xA4 \xEF\xBF\xBD a"); }

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  std::string scratch;
  for_each_word(text, scratch, [&](std::string_view word) { found.emplace_back(word); });
  return found;
}

TEST(Words, AreLowerCaseRunsOfLettersAndDigits) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words("Hello, World-2! x_y"), (Words{"hello", "world", "2", "x", "y"}));
  EXPECT_EQ(words("ÄRGER Ünnütz ΣΟΦΙΑ Привет"), (Words{"ärger", "ünnütz", "σοφια", "привет"}));
  EXPECT_EQ(words("日本 go"), (Words{"日", "本", "go"}));
  EXPECT_EQ(words("“quoted” — dash…"), (Words{"quoted", "dash"}));
  EXPECT_EQ(words(""), Words{});
  EXPECT_EQ(words("\xFF\xFE a"), (Words{"a"}));
}

} // namespace
} // namespace conclave::datakit
