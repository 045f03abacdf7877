// Tests of the parts of tokenizer/hf-bpe against plain expectations and slow references.

#include <gtest/gtest.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <iterator>
#include <map>
#include <random>
#include <utility>

#include "added_tokens.hpp"
#include "byte_alphabet.hpp"
#include "merge_table.hpp"
#include "nfc.hpp"
#include "piece_cache.hpp"
#include "splitter.hpp"
#include "whole_tokens.hpp"

namespace conclave::hf_bpe {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const std::vector<SplitStep>& steps, const std::string& text) {
  Pieces pieces;
  Splitter{steps}.for_each(text.data(), text.data() + text.size(),
                           [&](const char* begin, const char* end) { pieces.emplace_back(begin, end); });
  return pieces;
}

SplitStep step(std::string_view name) {
  for (const KnownPattern& known : known_patterns())
    if (known.name == name) return known.step;
  throw std::out_of_range(std::string(name));
}

TEST(Splitting, OfGpt2) {
  const std::vector<SplitStep> steps = {gpt2_step()};
  EXPECT_EQ(split(steps, "It's 'S 12 ab12!? x"), (Pieces{"It", "'s", " '", "S", " 12", " ab", "12", "!?", " x"}));
  EXPECT_EQ(split(steps, "a   b\n\n  c  "), (Pieces{"a", "  ", " b", "\n\n ", " c", "  "}));
  EXPECT_EQ(split(steps, "e\u0301x"), (Pieces{"e", "\u0301", "x"})) << "a mark is no letter";
  EXPECT_EQ(split(steps, ""), Pieces{});
}

TEST(Splitting, OfLlama3AndQwen2) {
  const std::vector<SplitStep> llama = {step("llama3")}, qwen = {step("qwen2")};
  EXPECT_EQ(split(llama, "we'LL 'ſ12345\tx"), (Pieces{"we", "'LL", " '", "ſ", "123", "45", "\tx"}));
  EXPECT_EQ(split(llama, "x'ſab 'Sab"), (Pieces{"x", "'ſ", "ab", " '", "Sab"}))
      << "case folding takes the long s for an s";
  EXPECT_EQ(split(qwen, "123"), (Pieces{"1", "2", "3"}));
  EXPECT_EQ(split(llama, "a !!\r\n\n b \n \n  c"), (Pieces{"a", " !!\r\n\n", " b", " \n \n", " ", " c"}));
  EXPECT_EQ(split(llama, "(x) \u00a0y\nz"), (Pieces{"(x", ")", " ", "\u00a0y", "\n", "z"}));
}

TEST(Splitting, OfDeepSeek) {
  const std::vector<SplitStep> steps = {step("deepseek3 numbers"), step("deepseek3 ideographs"), step("deepseek3")};
  EXPECT_EQ(split(steps, "x 1234"), (Pieces{"x", " ", "123", "4"}))
      << "a piece of an earlier step ends the text for a later one";
  EXPECT_EQ(split(steps, "日本ア・イx"), (Pieces{"日本ア", "・", "イ", "x"}));
  EXPECT_EQ(split(steps, "x中\u9fa5\u9fa6"), (Pieces{"x", "中\u9fa5", "\u9fa6"}))
      << "the range ends with the first Unicode";
  EXPECT_EQ(split(steps, "_name e\u0301 é.x ;\n\n"), (Pieces{"_name", " e\u0301", " é", ".x", " ;\n\n"}));
  EXPECT_EQ(split(steps, "\x01\x02 \x03y\x04"), (Pieces{"\x01\x02", " ", "\x03y", "\x04"}))
      << "what no match has is a piece";
}

TEST(Splitting, BytesThatAreNoTextAreCharactersOfNoClass) {
  for (const KnownPattern& known : known_patterns()) {
    for (const std::string text : {"\xFF\xFE", "a\xE4\xB8", "\xED\xA0\x80 x", "\xF0\x9F\x98", "1\x80", "\xC0\xAF"}) {
      std::string together;
      for (const auto& piece : split({known.step}, text)) {
        EXPECT_FALSE(piece.empty());
        together += piece;
      }
      EXPECT_EQ(together, text) << known.name;
    }
  }
  EXPECT_EQ(split({step("llama3")}, "a\xFF\xFE b"), (Pieces{"a", "\xFF\xFE", " b"}));
}

TEST(Splitting, OfDigits) {
  EXPECT_EQ(split({digits_step(true)}, "a12 3"), (Pieces{"a", "1", "2", " ", "3"}));
  EXPECT_EQ(split({digits_step(false)}, "a12 3"), (Pieces{"a", "12", " ", "3"}));
}

/// The definition, word for word: the first merge of the list that fits anywhere, at its leftmost place, until none fits.
std::vector<std::int32_t> slow_merges(const std::vector<Merge>& merges, std::vector<std::int32_t> ids) {
  std::map<std::pair<int, int>, std::pair<std::size_t, int>> ranks;
  for (std::size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = {i, merges[i].result};
  for (;;) {
    std::size_t at = ids.size(), rank = merges.size();
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      if (const auto found = ranks.find({ids[i], ids[i + 1]}); found != ranks.end() && found->second.first < rank)
        at = i, rank = found->second.first;
    if (at == ids.size()) return ids;
    ids[at] = ranks[{ids[at], ids[at + 1]}].second;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Merging, EqualsItsDefinitionForShortAndLongPieces) {
  std::mt19937 random(3);
  std::array<std::int32_t, 256> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes[static_cast<std::size_t>(byte)] = byte;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Merge> merges;
    std::map<std::string, int> known; // one token may be reached in several ways, and a pair may come twice
    std::vector<std::string> texts;
    for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
    for (int i = 0; i < 60; ++i) {
      const auto any = [&] {
        return static_cast<int>(random() % 3         ? 'a' + random() % 3
                                : texts.size() > 256 ? 256 + random() % (texts.size() - 256)
                                                     : 'a');
      };
      const int left = any(), right = any();
      const std::string text = texts[static_cast<std::size_t>(left)] + texts[static_cast<std::size_t>(right)];
      const auto [found, added] = known.emplace(text, static_cast<int>(texts.size()));
      if (added) texts.push_back(text);
      merges.push_back({left, right, found->second});
    }
    const MergeTable table(bytes, merges);
    MergeTable::Scratch scratch;
    for (const std::size_t length : {1u, 2u, 7u, 30u, 48u, 49u, 200u, 1000u}) {
      std::string piece;
      while (piece.size() < length) piece += static_cast<char>('a' + random() % (trial % 3 + 1));
      std::vector<std::int32_t> ids(length);
      ids.resize(table.encode(piece, ids.data(), scratch));
      ASSERT_EQ(ids, slow_merges(merges, {piece.begin(), piece.end()})) << piece;
    }
  }
}

TEST(AddedTokens, TheLongestIsTakenAndItsOptionsObeyed) {
  const AddedToken shorter{1, "<|a|>"}, longer{2, "<|a|>b"}, left{3, "[L]", false, false, true, false},
      right{4, "[R]", true, false, false, true};
  AddedTokenFinder finder;
  for (const AddedToken* token : {&shorter, &longer, &left, &right}) finder.add(token->content, *token);
  const auto find = [&](std::string_view text, bool skip_special = false) {
    std::vector<Section> sections;
    finder.find(text, skip_special, sections);
    std::vector<std::pair<int, std::string>> found;
    for (const Section& section : sections) found.emplace_back(section.id, section.text);
    return found;
  };
  using Found = std::vector<std::pair<int, std::string>>;
  EXPECT_EQ(find("x<|a|>bc<|a|><|"), (Found{{-1, "x"}, {2, "<|a|>b"}, {-1, "c"}, {1, "<|a|>"}, {-1, "<|"}}));
  EXPECT_EQ(find("x \u3000\n[L] y"), (Found{{-1, "x"}, {3, " \u3000\n[L]"}, {-1, " y"}}));
  EXPECT_EQ(find("[R]  [L] "), (Found{{4, "[R]  "}, {3, "[L]"}, {-1, " "}}))
      << "white space goes to the first that asks";
  EXPECT_EQ(find("a[R] b", true), (Found{{-1, "a[R] b"}}));
  EXPECT_EQ(find(""), Found{});
}

TEST(WholeTokens, FindsWhatWasAddedAndNothingElse) {
  std::vector<std::string> texts;
  for (int i = 0; i < 5000; ++i) texts.push_back("token " + std::to_string(i * i));
  WholeTokens tokens;
  EXPECT_EQ(tokens.find("x"), -1);
  for (std::size_t i = 0; i < texts.size(); ++i) tokens.add(texts[i], static_cast<int>(i));
  tokens.build();
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(tokens.find(texts[i]), static_cast<int>(i));
  for (const char* other : {"", "token", "token 2", "token 24990002"}) EXPECT_EQ(tokens.find(other), -1);
}

TEST(PieceCache, KeysAreTheBytesAndTheLength) {
  using Key = PieceKey<16>;
  const std::string text("ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
  const std::string_view view = text;
  EXPECT_FALSE(Key(view.substr(0, 2), 24) == Key(view.substr(0, 3), 24)) << "a zero is a byte as any other";
  for (std::size_t size = 1; size <= Key::longest; ++size)
    EXPECT_TRUE(Key(view.substr(0, size), 24) == Key(view.substr(0, size), size)) << size;
}

TEST(Nfc, ComposesAndLeavesBytesAlone) {
  std::string scratch;
  EXPECT_EQ(to_nfc("plain", scratch), "plain");
  EXPECT_EQ(to_nfc("cafe\u0301 \u1100\u1161\u11a8", scratch), "caf\u00e9 \uac01");
  EXPECT_EQ(to_nfc("\xFF"
                   "e\u0301\xE0\xCC\x81",
                   scratch),
            "\xFF\u00e9\xE0\u0301");
  EXPECT_EQ(to_nfc("a\u0c3c\u0334", scratch), "a\u0c3c\u0334")
      << "a mark of Unicode 14 is a letter to the tables of theirs";
}

/// Runs of marks in any order, some of which decompose: what ICU makes of them by itself.
TEST(Nfc, OrdersRunsOfAnyLength) {
  std::string scratch;
  std::mt19937 random(5);
  const char* marks[] = {"\u0301", "\u0316", "\u0334", "\u0344", "\u0f73", "\u0f71", "\u093c", "\u0903", "\u3099"};
  for (int trial = 0; trial < 300; ++trial) {
    std::string text = "e", expected;
    for (int i = 0; i < 20 + trial; ++i) text += marks[random() % std::size(marks)];
    UErrorCode status = U_ZERO_ERROR;
    icu::StringByteSink<std::string> sink(&expected);
    icu::Normalizer2::getNFCInstance(status)->normalizeUTF8(0, text, sink, nullptr, status);
    ASSERT_TRUE(U_SUCCESS(status));
    ASSERT_EQ(to_nfc(text, scratch), expected);
  }
  std::string run, low, high;
  for (int i = 0; i < 200'000; ++i) { // ICU by itself would take minutes
    run += "\u0301\u0316";
    low += "\u0316";
    if (i > 0) high += "\u0301";
  }
  EXPECT_TRUE(to_nfc("e" + run, scratch) == "\u00e9" + low + high) << "the first accent is the letter's";
}

TEST(ByteAlphabet, HasACharacterForEachByte) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(from_visible(to_visible(all)), all);
  EXPECT_EQ(to_visible(" \n\xAD"
                       "A\xE9"),
            "ĠĊŃAé");
  EXPECT_FALSE(from_visible("｜"));
  EXPECT_FALSE(from_visible("\u0144"));
}

} // namespace
} // namespace conclave::hf_bpe
