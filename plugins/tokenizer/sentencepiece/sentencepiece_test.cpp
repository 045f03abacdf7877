// Tests of tokenizer/sentencepiece: ids against the Python sentencepiece library (testdata/make.py), training, damage.

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "conclave/testkit.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::sentencepiece_plugin {
namespace {

namespace fs = std::filesystem;

fs::path testdata(const std::string& name) { return fs::path(TESTDATA) / name; }
std::string file_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Result<std::shared_ptr<Tokenizer>> make(testkit::FakeHost& host, const Value& with = {}) {
  return testkit::make<Tokenizer>(testkit::this_library("tokenizer/sentencepiece"), host, with);
}

Status train(Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::size_t at = 0;
  return tokenizer.train([&](std::string& text) {
    if (at == texts.size()) return false;
    text = texts[at++];
    return true;
  });
}

/// Text of words drawn from a lexicon, with code and newlines between. Small, because it is trained on many times.
std::vector<std::string> corpus() {
  std::uint32_t state = 3;
  const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 16; };
  std::vector<std::string> lexicon(400), texts;
  for (std::string& word : lexicon)
    for (std::uint32_t c = 0, length = 2 + next() % 6; c < length; ++c)
      word += static_cast<char>('a' + (next() % 26) * (next() % 26) / 26);
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (int w = 0; w < 60; ++w)
      text += lexicon[next() % lexicon.size()] + (next() % 9 == 0 ? "\n    " : next() % 7 == 0 ? " = 17;\n" : " ");
    texts.push_back(text);
  }
  return texts;
}

std::vector<std::int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  const Status status = tokenizer.encode(text, ids);
  EXPECT_TRUE(status.ok()) << status.error().render();
  return ids;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, IdsEqualThoseOfThePythonLibrary) {
  const std::string name = GetParam();
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"model", testdata(name + ".model")}}));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().render();
  EXPECT_FALSE((*tokenizer)->needs_training());
  const auto cases = nlohmann::json::parse(file_bytes(testdata(name + ".ids.json")));
  ASSERT_GT(cases.size(), 10u);
  for (int round = 0; round < 2; ++round) { // the second from the cache
    for (const auto& item : cases) {
      const auto text = item["text"].get<std::string>();
      const auto ids = encode(**tokenizer, text);
      EXPECT_EQ(ids, item["ids"].get<std::vector<std::int32_t>>()) << name << ": " << text;
      std::string decoded;
      ASSERT_TRUE((*tokenizer)->decode(ids.data(), ids.size(), decoded).ok());
      EXPECT_EQ(decoded, item["decoded"].get<std::string>()) << name << ": " << text;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::Values("code_bpe", "prose_unigram", "prose_bpe"));

TEST(Training, IsAPureFunctionOfTextsAndOptions) {
  testkit::FakeHost host({.phase = Phase::prepare});
  for (const char* algorithm : {"bpe", "unigram"}) {
    std::string first;
    for (int round = 0; round < 2; ++round) {
      auto tokenizer = make(host, testkit::map({{"vocabulary", 500}, {"algorithm", algorithm}}));
      ASSERT_TRUE((*tokenizer)->needs_training());
      EXPECT_EQ((*tokenizer)->vocabulary_size(), 500);
      const Status status = train(**tokenizer, corpus());
      ASSERT_TRUE(status.ok()) << status.error().render();
      EXPECT_FALSE((*tokenizer)->needs_training());
      EXPECT_EQ((*tokenizer)->vocabulary_size(), 500);
      if (round == 0) first = (*tokenizer)->serialize();
      EXPECT_TRUE((*tokenizer)->serialize() == first) << algorithm;
    }
  }
  ASSERT_FALSE(host.logs().empty());
  EXPECT_NE(host.logs().back().text.find("trained 500 pieces"), std::string::npos);
}

TEST(Training, GivesATokenizerThatBringsTextBack) {
  testkit::FakeHost host({.phase = Phase::prepare});
  for (const char* algorithm : {"bpe", "unigram"}) {
    auto tokenizer = make(host, testkit::map({{"vocabulary", 400}, {"algorithm", algorithm}}));
    ASSERT_TRUE(train(**tokenizer, corpus()).ok());
    const SpecialTokens special = (*tokenizer)->special_tokens();
    EXPECT_EQ(std::vector({special.unknown, special.beginning, special.end, special.padding}),
              std::vector({0, 1, 2, 3}));
    auto texts = corpus();
    for (const char* more : {"", " ", "\n", "  \n\t  x  ", "日本語 \xF0\x9F\x98\x80", "é́", "\x01\x02", "a\r\nb"})
      texts.emplace_back(more);
    for (const std::string& text : texts) {
      const auto ids = encode(**tokenizer, text);
      std::string back;
      ASSERT_TRUE((*tokenizer)->decode(ids.data(), ids.size(), back).ok());
      EXPECT_EQ(back, text) << algorithm;
      EXPECT_EQ(std::ranges::count(ids, special.unknown), 0);
    }
  }
}

/// encode() cuts text into words; SentencePiece itself, given the whole text, must say the same.
TEST(Encoding, WordByWordEqualsWhole) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"vocabulary", 600}}));
  ASSERT_TRUE(train(**tokenizer, corpus()).ok());
  sentencepiece::SentencePieceProcessor whole;
  ASSERT_TRUE(whole.LoadFromSerializedProto((*tokenizer)->serialize()).ok());
  const char* parts[] = {" ",  "  ",           "\n",   "\t", "a",  "word",     "the", " = 17;", "é",
                         "日", "\xE2\x96\x81", "\xFF", "}",  "\r", "\xC2\xA0", "zq",  "12",     "\xE2\x80\xA8"};
  std::uint32_t state = 11;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text;
    for (int i = 0; i < 30; ++i) {
      state = state * 1664525u + 1013904223u;
      // The mark of a space takes another path; most texts do without.
      const std::size_t index = (state >> 16) % std::size(parts);
      if (index != 10 || trial % 10 == 0) text += parts[index];
    }
    std::vector<int> expected;
    ASSERT_TRUE(whole.Encode(text, &expected).ok());
    ASSERT_EQ(encode(**tokenizer, text), expected) << text;
  }
}

TEST(Encoding, ManyThreadsAgree) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"vocabulary", 400}}));
  ASSERT_TRUE(train(**tokenizer, corpus()).ok());
  const auto texts = corpus();
  std::vector<std::vector<std::int32_t>> expected;
  for (const auto& text : texts) expected.push_back(encode(**tokenizer, text));
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::int32_t> ids;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        ids.clear();
        const std::size_t at = (i * 7 + static_cast<std::size_t>(t) * 10) % texts.size();
        if (!(*tokenizer)->encode(texts[at], ids).ok() || ids != expected[at]) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(Training, TooLittleTextIsAnErrorThatSaysSo) {
  testkit::FakeHost host({.phase = Phase::prepare});
  for (const std::vector<std::string>& texts : {std::vector<std::string>{}, {""}, {"\n\n"}, {"a few words"}}) {
    auto tokenizer = make(host, testkit::map({{"vocabulary", 4000}}));
    const Status status = train(**tokenizer, texts);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::invalid_argument);
    EXPECT_FALSE(status.error().fix.empty());
    EXPECT_TRUE((*tokenizer)->needs_training());
  }
}

TEST(Training, SurvivesBytesThatAreNoTextAndLongLines) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto texts = corpus();
  texts.emplace_back(5000, '\xFF');
  texts.emplace_back(5000, '\0');
  texts.emplace_back(100'000, 'x');
  texts.push_back("\xE2\x96\x85 reserved \xE2\x96\x81");
  auto tokenizer = make(host, testkit::map({{"vocabulary", 500}}));
  const Status status = train(**tokenizer, texts);
  EXPECT_TRUE(status.ok()) << status.error().render();
}

TEST(Training, StopsWhenAsked) {
  testkit::FakeHost host({.phase = Phase::prepare});
  host.request_stop();
  auto tokenizer = make(host, testkit::map({{"vocabulary", 500}}));
  const Status status = train(**tokenizer, corpus());
  ASSERT_FALSE(status.ok());
}

TEST(State, LoadsBackAndRefusesDamage) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"vocabulary", 400}}));
  ASSERT_TRUE(train(**tokenizer, corpus()).ok());
  const std::string state = (*tokenizer)->serialize();
  auto other = make(host);
  ASSERT_TRUE((*other)->load(state).ok());
  EXPECT_EQ(encode(**other, corpus()[0]), encode(**tokenizer, corpus()[0]));
  EXPECT_TRUE((*other)->serialize() == state);
  for (const std::string& bad : {std::string(), std::string("text"), state.substr(0, 5), std::string(100, '\xFF')}) {
    EXPECT_FALSE((*other)->load(bad).ok());
    EXPECT_TRUE((*other)->serialize() == state) << "a refused state must change nothing";
  }
  std::uint32_t random = 17;
  for (int trial = 0; trial < 400; ++trial) { // any outcome but a crash
    std::string flipped = state;
    for (int i = 0; i < 1 + trial % 4; ++i) {
      random = random * 1664525u + 1013904223u;
      flipped[(random >> 8) % flipped.size()] = static_cast<char>(random >> 3);
    }
    if (!(*other)->load(flipped).ok()) continue;
    std::vector<std::int32_t> ids;
    static_cast<void>((*other)->encode("some text = 17;\n", ids));
  }
}

TEST(State, UseBeforeTrainingAndForeignIdsAreErrors) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"vocabulary", 400}}));
  std::vector<std::int32_t> ids;
  std::string text;
  EXPECT_FALSE((*tokenizer)->encode("a", ids).ok());
  ASSERT_TRUE(train(**tokenizer, corpus()).ok());
  for (const std::int32_t id : {-1, 400}) EXPECT_FALSE((*tokenizer)->decode(&id, 1, text).ok());
}

TEST(ModelFile, MissingAndUnfitFilesNameThemselves) {
  const testkit::TemporaryDir dir;
  testkit::FakeHost host({.phase = Phase::prepare});
  for (const auto& path :
       {dir.path() / "none.model", dir.write("bad.model", "nonsense"), dir.write("empty.model", "")}) {
    const auto made = make(host, testkit::map({{"model", path}}));
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().where, path.string());
  }
  testkit::FakeHost check({.phase = Phase::check}); // which may not touch files
  EXPECT_TRUE(make(check, testkit::map({{"model", dir.path() / "none.model"}})).ok());
}

TEST(Write, GivesTheFilesOfHuggingFace) {
  const testkit::TemporaryDir dir;
  testkit::FakeHost host({.phase = Phase::prepare});
  auto tokenizer = make(host, testkit::map({{"model", testdata("code_bpe.model")}}));
  ASSERT_TRUE((*tokenizer)->write(dir.path().string()).ok());
  EXPECT_TRUE(file_bytes(dir.path() / "tokenizer.model") == file_bytes(testdata("code_bpe.model")));
  const auto config = nlohmann::json::parse(file_bytes(dir.path() / "tokenizer_config.json"));
  EXPECT_EQ(config["tokenizer_class"], "LlamaTokenizer");
  EXPECT_EQ(config["pad_token"], "<pad>");
  EXPECT_EQ(config["add_prefix_space"], false);
  const auto map = nlohmann::json::parse(file_bytes(dir.path() / "special_tokens_map.json"));
  EXPECT_EQ(map["bos_token"], "<s>");
  const Status failed = (*tokenizer)->write((dir.path() / "not" / "there").string());
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Code::storage);
}

} // namespace
} // namespace conclave::sentencepiece_plugin
