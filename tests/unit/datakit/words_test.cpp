// Tests of words.hpp: English against spaCy's words, unspaced scripts, sentences, lines.

#include "conclave/datakit/words.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace conclave::datakit {
namespace {

std::string joined(std::span<const Word> words) {
  std::string text;
  for (const Word& word : words) text += (text.empty() ? "" : " ") + std::string(word.text);
  return text;
}

TEST(WordCutter, CutsEnglishAsSpacyDoes) {
  std::ifstream file(GOLDEN_WORDS);
  WordCutter cut;
  std::string text, words;
  int texts = 0;
  while (std::getline(file, text) && std::getline(file, words)) {
    EXPECT_EQ(joined(cut(text)), words) << text;
    ++texts;
  }
  EXPECT_EQ(texts, 14);
}

TEST(WordCutter, KeepsEveryByteThatIsNoWhiteSpace) {
  WordCutter cut;
  for (const std::string text :
       {"\xFF\xFE a\x80 \xE4\xBD", "don't\xC2\xA0stop", "日本語のテキスト、です。abc123", "\x1C x \xE3\x80\x80y"}) {
    std::string kept;
    for (const Word& word : cut(text)) kept += word.text;
    std::string wanted;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (std::string_view(text).substr(at).starts_with("\xC2\xA0")) {
        ++at;
      } else if (std::string_view(text).substr(at).starts_with("\xE3\x80\x80")) {
        at += 2;
      } else if (text[at] != ' ' && text[at] != '\x1C') {
        wanted += text[at];
      }
    }
    EXPECT_EQ(kept, wanted);
  }
}

TEST(WordCutter, CutsUnspacedScriptsByDictionary) {
  WordCutter cut;
  EXPECT_EQ(joined(cut("我们使用自由软件，Debian 12很好。")), "我们 使用 自由 软件 ， Debian 12 很好 。");
  EXPECT_EQ(joined(cut("สวัสดีชาวโลก")), "สวัสดี ชาว โลก");
}

TEST(WordCutter, SaysWhatAWordIs) {
  WordCutter cut;
  const auto words = cut("größe 42 ... x1 。");
  ASSERT_EQ(words.size(), 5u);
  EXPECT_EQ(words[0].characters, 5u);
  const auto kinds = [&](std::size_t i) { return std::pair(words[i].mark, words[i].letter); };
  EXPECT_EQ(kinds(0), std::pair(false, true));
  EXPECT_EQ(kinds(1), std::pair(false, false));
  EXPECT_EQ(kinds(2), std::pair(true, false));
  EXPECT_EQ(kinds(3), std::pair(false, true));
  EXPECT_EQ(kinds(4), std::pair(true, false));
}

TEST(Sentences, EndWithAMarkOfAnyScript) {
  WordCutter cut;
  EXPECT_EQ(count_sentences(cut("")), 0);
  EXPECT_EQ(count_sentences(cut("no mark")), 1);
  EXPECT_EQ(count_sentences(cut("One is here. \"Two!\" Three? (Four.) e.g. this one")), 5);
  EXPECT_EQ(count_sentences(cut("这是一。这是二！这是三")), 3);
  EXPECT_TRUE(ends_sentence("end."));
  EXPECT_TRUE(ends_sentence("结束。"));
  EXPECT_FALSE(ends_sentence("end,"));
  EXPECT_FALSE(ends_sentence(""));
}

TEST(Lines, AreWhatStandsBetweenLineEnds) {
  std::vector<std::string> lines;
  for_each_line("a\n\nb\n", [&](std::string_view line) { lines.emplace_back(line); });
  EXPECT_EQ(lines, (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(trimmed(" \t\xE3\x80\x80x y\xC2\xA0\r"), "x y");
  EXPECT_EQ(trimmed(" \t"), "");
}

} // namespace
} // namespace conclave::datakit
