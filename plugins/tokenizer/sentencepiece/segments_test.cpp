// Tests of the parts below tokenizer/sentencepiece that need no model of their own: the model reader and the segments.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "encode_cache.hpp"
#include "model_proto.hpp"
#include "segments.hpp"

namespace conclave::sentencepiece_plugin {
namespace {

std::string model_bytes(const char* name) {
  std::ifstream file(std::filesystem::path(TESTDATA) / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ReadModel, FindsTheFactsOfRealModels) {
  const std::string code = model_bytes("code_bpe.model"), prose = model_bytes("prose_unigram.model");
  const auto facts = read_model(code);
  ASSERT_TRUE(facts.ok()) << facts.error().render();
  EXPECT_EQ(facts->type, ModelType::bpe);
  EXPECT_TRUE(facts->byte_fallback);
  EXPECT_FALSE(facts->add_dummy_prefix || facts->remove_extra_whitespaces || facts->normalises);
  EXPECT_EQ(facts->pieces[0].type, PieceType::unknown);
  EXPECT_EQ(facts->pieces[4].text, "<0x00>");
  const auto other = read_model(prose);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->type, ModelType::unigram);
  EXPECT_TRUE(other->add_dummy_prefix && other->remove_extra_whitespaces);
  EXPECT_FALSE(other->byte_fallback);
}

TEST(ReadModel, RefusesEveryTruncationOrReadsFewerPieces) {
  const std::string whole = model_bytes("code_bpe.model");
  const std::size_t pieces = read_model(whole)->pieces.size();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto facts = read_model(std::string_view(whole).substr(0, length));
    if (facts.ok()) {
      EXPECT_LE(facts->pieces.size(), pieces);
    }
  }
}

std::string piece(std::string_view text, int type) {
  std::string body = "\x0A" + std::string(1, static_cast<char>(text.size())) + std::string(text) + "\x18" +
                     std::string(1, static_cast<char>(type));
  return "\x0A" + std::string(1, static_cast<char>(body.size())) + body;
}

TEST(ReadModel, RefusesWhatSentencePieceWouldDieOf) {
  const auto what = [](const std::string& bytes) {
    const auto facts = read_model(bytes);
    return facts.ok() ? std::string("accepted") : facts.error().what;
  };
  EXPECT_EQ(what(piece("<unk>", 2) + piece("a", 1)), "accepted");
  EXPECT_NE(what("").find("empty"), std::string::npos);
  EXPECT_NE(what("no protobuf at all").find("cut or is no protobuf"), std::string::npos);
  EXPECT_NE(what(piece("a", 1)).find("0 unknown"), std::string::npos);
  EXPECT_NE(what(piece("<unk>", 2) + piece("<u>", 2)).find("2 unknown"), std::string::npos);
  EXPECT_NE(what(piece("<unk>", 2) + piece("a", 1) + piece("a", 1)).find("twice"), std::string::npos);
  EXPECT_NE(what(piece("<unk>", 2) + piece("", 1)).find("a piece is empty"), std::string::npos);
  EXPECT_NE(what(piece("<unk>", 9)).find("damaged"), std::string::npos);
  EXPECT_NE(what(std::string(largest_model + 1, '\0')).find("64 MiB"), std::string::npos);
  std::string many = piece("<unk>", 2);
  char text[16];
  for (std::size_t i = 0; i <= most_pieces; ++i) {
    std::snprintf(text, sizeof text, "%zu", i);
    many += piece(text, 1);
  }
  EXPECT_NE(what(many).find("more than 1048576 pieces"), std::string::npos);
}

TEST(PlanSegments, OnlyWherePiecesAllowIt) {
  const std::string code = model_bytes("code_bpe.model"), prose = model_bytes("prose_bpe.model"),
                    unigram = model_bytes("prose_unigram.model");
  ModelFacts facts = *read_model(code);
  const auto plan = plan_segments(facts);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->around_newline);
  EXPECT_FALSE(plan_segments(*read_model(prose)));
  EXPECT_FALSE(plan_segments(*read_model(unigram)));

  facts.pieces.push_back({"}\n", PieceType::normal});
  EXPECT_FALSE(plan_segments(facts)->around_newline);
  facts.pieces.push_back(
      {"a\xE2\x96\x81"
       "b",
       PieceType::normal});
  EXPECT_FALSE(plan_segments(facts));
  facts.pieces.back() = {"word", PieceType::user_defined};
  EXPECT_FALSE(plan_segments(facts));
}

TEST(SegmentLength, CutsBeforeSpacesAndAroundNewlines) {
  const auto cut = [](std::string_view text, bool newline) {
    std::vector<std::string> parts;
    while (!text.empty()) {
      parts.emplace_back(text.substr(0, segment_length(text, {newline})));
      text.remove_prefix(parts.back().size());
    }
    return parts;
  };
  using Parts = std::vector<std::string>;
  EXPECT_EQ(cut("one  two\n\n  x ", true), (Parts{"one", "  two", "\n\n", "  x", " "}));
  EXPECT_EQ(cut("one  two\n\n  x ", false), (Parts{"one", "  two\n\n", "  x", " "}));
  EXPECT_EQ(cut(" \n", true), (Parts{" ", "\n"}));
}

TEST(EncodeCache, FindsWhatItHoldsAndForgetsWhenFull) {
  EncodeCache cache;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 60'000; ++i) {
      const std::string word = "word" + std::to_string(i + round * 60'000);
      const std::vector<std::int32_t> ids = {i, round};
      if (const auto* known = cache.find(word)) {
        ADD_FAILURE() << "never inserted: " << word << " " << known->size();
      } else {
        cache.insert(word, ids);
      }
      const auto* found = cache.find(word);
      ASSERT_TRUE(found);
      ASSERT_TRUE(std::equal(found->begin(), found->end(), ids.begin(), ids.end()));
    }
  }
  EXPECT_EQ(cache.find("word0"), nullptr);
}

} // namespace
} // namespace conclave::sentencepiece_plugin
