// Tests of tokenizer/bytes.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "conclave/testkit.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::bytes {
namespace {

std::shared_ptr<Tokenizer> make(testkit::FakeHost& host, const Value& with = {}) {
  auto made = testkit::make<Tokenizer>(testkit::this_library("tokenizer/bytes"), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::move(made).value();
}

TEST(BytesTokenizer, EveryByteComesBack) {
  testkit::FakeHost host;
  const auto tokenizer = make(host);
  std::string text, back;
  for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
  std::vector<std::int32_t> ids = {7};
  ASSERT_TRUE(tokenizer->encode(text, ids).ok());
  ASSERT_EQ(ids.size(), 257u); // appended
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<std::size_t>(byte) + 1], byte);
  ASSERT_TRUE(tokenizer->decode(ids.data() + 1, 256, back).ok());
  EXPECT_EQ(back, text);
}

TEST(BytesTokenizer, SpecialTokensFollowTheBytes) {
  testkit::FakeHost host;
  const auto all = make(host);
  EXPECT_EQ(all->vocabulary_size(), 259);
  EXPECT_EQ(all->special_tokens().beginning, 256);
  EXPECT_EQ(all->special_tokens().end, 257);
  EXPECT_EQ(all->special_tokens().padding, 258);
  EXPECT_EQ(all->special_tokens().unknown, -1);
  const auto only_end = make(host, testkit::map({{"beginning", false}, {"padding", false}}));
  EXPECT_EQ(only_end->vocabulary_size(), 257);
  EXPECT_EQ(only_end->special_tokens().end, 256);
  EXPECT_EQ(only_end->special_tokens().padding, -1);
}

TEST(BytesTokenizer, SpecialTokensHaveNoTextAndForeignIdsAreErrors) {
  testkit::FakeHost host;
  const auto tokenizer = make(host);
  const std::vector<std::int32_t> ids = {256, 'a', 258, 'b', 257};
  std::string text = "old";
  ASSERT_TRUE(tokenizer->decode(ids.data(), ids.size(), text).ok());
  EXPECT_EQ(text, "ab");
  for (const std::int32_t id : {-1, 259}) EXPECT_FALSE(tokenizer->decode(&id, 1, text).ok());
}

TEST(BytesTokenizer, StateFitsOnlyTheSameOptions) {
  testkit::FakeHost host;
  const auto tokenizer = make(host);
  EXPECT_FALSE(tokenizer->needs_training());
  EXPECT_TRUE(tokenizer->load(tokenizer->serialize()).ok());
  EXPECT_FALSE(make(host, testkit::map({{"padding", false}}))->load(tokenizer->serialize()).ok());
  EXPECT_FALSE(tokenizer->load("").ok());
}

TEST(BytesTokenizer, WritesAByteLevelVocabularyOf256DifferentCharacters) {
  testkit::FakeHost host;
  const testkit::TemporaryDir dir;
  ASSERT_TRUE(make(host)->write(dir.path().string()).ok());
  std::ifstream file(dir.path() / "tokenizer.json");
  const auto json = nlohmann::json::parse(file);
  const auto& vocabulary = json["model"]["vocab"];
  EXPECT_EQ(vocabulary.size(), 256u);
  EXPECT_EQ(vocabulary["A"], 65);
  EXPECT_EQ(vocabulary["\u0120"], 32); // the space, as GPT-2 writes it
  EXPECT_EQ(vocabulary["\u010A"], 10);
  EXPECT_EQ(vocabulary["\u0143"], 173);
  EXPECT_EQ(json["added_tokens"].size(), 3u);
  EXPECT_FALSE(make(host)->write("/nowhere/at/all").ok());
}

} // namespace
} // namespace conclave::bytes
