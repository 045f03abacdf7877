// Tests of tokenizer/hf-bpe as a host uses it: ids against Hugging Face's tokenizers (testdata/make.py), training, state,
// files, damage. tests/golden/tokenizer compares far more, where Python is at hand.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "conclave/testkit.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::hf_bpe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string file_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
fs::path testdata(const std::string& name) { return fs::path(TESTDATA) / name; }
Json read_json(const std::string& name) { return Json::parse(file_bytes(testdata(name))); }

Result<std::shared_ptr<Tokenizer>> make(testkit::FakeHost& host, const Value& with = {}) {
  return testkit::make<Tokenizer>(testkit::this_library("tokenizer/hf-bpe"), host, with);
}

class HfBpe : public testing::Test {
 protected:
  std::shared_ptr<Tokenizer> given(const std::string& family, bool match_special = true) {
    auto made = make(host_, testkit::map({{"file", testdata(family + ".json")}, {"match_special", match_special}}));
    EXPECT_TRUE(made.ok()) << made.error().render();
    return *made;
  }
  std::shared_ptr<Tokenizer> untrained(const std::string& family = "llama3", int vocabulary = 500) {
    return *make(host_, testkit::map({{"family", family}, {"vocabulary", vocabulary}}));
  }
  /// A tokenizer that loads this JSON, or why not.
  Status load(const Json& json) { return untrained()->load(json.dump()); }

  testkit::FakeHost host_{{.phase = Phase::prepare}};
};

std::vector<std::int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  const Status status = tokenizer.encode(text, ids);
  EXPECT_TRUE(status.ok()) << status.error().render();
  return ids;
}

std::string decode(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  std::string text = "left over";
  const Status status = tokenizer.decode(ids.data(), ids.size(), text);
  EXPECT_TRUE(status.ok()) << status.error().render();
  return text;
}

Status train(Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::size_t at = 0;
  return tokenizer.train([&](std::string& text) {
    if (at == texts.size()) return false;
    text = texts[at++];
    return true;
  });
}

std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  for (const auto& text : read_json("texts.json")) texts.push_back(text.get<std::string>());
  for (int i = 0; i < 50; ++i)
    texts.push_back("the theory of the thing, number " + std::to_string(i * i) + " of it; x" + std::to_string(i % 7) +
                    " = y");
  return texts;
}

class Golden : public HfBpe, public testing::WithParamInterface<const char*> {};

TEST_P(Golden, IdsAndTextsEqualThoseOfHuggingFace) {
  const std::string family = GetParam();
  const auto tokenizer = given(family);
  EXPECT_FALSE(tokenizer->needs_training());
  const Json texts = read_json("texts.json"), cases = read_json(family + ".ids.json");
  ASSERT_EQ(texts.size(), cases.size());
  ASSERT_GT(texts.size(), 50u);
  for (int round = 0; round < 2; ++round) { // the second from the cache
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      const auto ids = encode(*tokenizer, text);
      EXPECT_EQ(ids, cases[i]["ids"].get<std::vector<std::int32_t>>()) << text;
      if (!cases[i]["decoded"].is_null()) {
        EXPECT_EQ(decode(*tokenizer, ids), cases[i]["decoded"].get<std::string>());
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Families, Golden, testing::Values("gpt2", "llama3", "qwen2", "deepseek3", "starcoder"));

TEST_F(HfBpe, BothFormsOfMergesAreTheSame) {
  Json json = read_json("gpt2.json");
  for (Json& merge : json["model"]["merges"]) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  const auto older = untrained(), newer = given("gpt2");
  ASSERT_TRUE(older->load(json.dump()).ok());
  for (const auto& text : corpus()) EXPECT_EQ(encode(*older, text), encode(*newer, text));
}

TEST_F(HfBpe, ATokenThatNoMergesMakeIsFoundOnlyWhereMergesAreIgnored) {
  Json json = read_json("gpt2.json");
  json["added_tokens"] = Json::array();
  json["model"]["vocab"]["zqzq"] = 700;
  for (const bool ignore : {false, true}) {
    json["model"]["ignore_merges"] = ignore;
    const auto tokenizer = untrained();
    ASSERT_TRUE(tokenizer->load(json.dump()).ok());
    const auto ids = encode(*tokenizer, "zqzq");
    EXPECT_EQ(ids == std::vector<std::int32_t>{700}, ignore);
    EXPECT_EQ(decode(*tokenizer, ids), "zqzq");
  }
  // A token of the vocabulary that is added, too: its characters stand for bytes to the one and for themselves to the other.
  json["model"]["vocab"]["éé"] = 701;
  json["added_tokens"] = {{{"id", 701}, {"content", "éé"}, {"normalized", false}}};
  const auto tokenizer = untrained();
  ASSERT_TRUE(tokenizer->load(json.dump()).ok());
  EXPECT_EQ(encode(*tokenizer, "éé"), std::vector<std::int32_t>{701});
  EXPECT_EQ(encode(*tokenizer, "\xE9\xE9"), std::vector<std::int32_t>{701});
  EXPECT_EQ(decode(*tokenizer, {701}), "éé");
}

TEST_F(HfBpe, AnyBytesComeBack) {
  const auto tokenizer = given("llama3");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::uint32_t state = 5;
  for (int trial = 0; trial < 300; ++trial) {
    std::string text = trial == 0   ? all
                       : trial == 1 ? "a\xED\xA0\x80\xED\xB0\x80 \xC0\xAF\xF4\x90\x80\x80 \xE4\xB8"
                                    : "";
    for (int i = 0; i < 100 && trial > 1; ++i)
      text += static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
    EXPECT_EQ(decode(*tokenizer, encode(*tokenizer, text)), text);
  }
}

TEST_F(HfBpe, SpecialTokensAreFoundByNameAndLeftOutOfText) {
  const auto tokenizer = given("deepseek3");
  EXPECT_EQ(tokenizer->special_tokens().beginning, 0);
  EXPECT_EQ(tokenizer->special_tokens().end, 1);
  EXPECT_EQ(tokenizer->special_tokens().padding, 2);
  EXPECT_EQ(tokenizer->special_tokens().unknown, -1);
  EXPECT_EQ(tokenizer->vocabulary_size(), 703);
  EXPECT_EQ(decode(*tokenizer, {0, 700, 1}), "<tool_call>"); // added, but not special
  const std::string text = "x<｜end▁of▁sentence｜><tool_call>";
  EXPECT_EQ(std::ranges::count(encode(*tokenizer, text), 1), 1);
  const auto plain = given("deepseek3", false);
  const auto ids = encode(*plain, text);
  EXPECT_EQ(std::ranges::count(ids, 1), 0);
  EXPECT_EQ(std::ranges::count(ids, 700), 1) << "only special tokens are text then";
  EXPECT_EQ(decode(*plain, ids), text);
  EXPECT_EQ(given("gpt2")->special_tokens().end, 0);

  const auto with = [&](const char* option, const char* name) {
    return make(host_, testkit::map({{"file", testdata("gpt2.json")}, {option, name}}));
  };
  EXPECT_EQ((*with("padding", "<tool_call>"))->special_tokens().padding, 700);
  const auto wrong = with("end", "</s>");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().what.find("`end` is '</s>'"), std::string::npos) << wrong.error().what;
}

TEST_F(HfBpe, ASpaceGoesBeforeATextWhereTheFileSaysSo) {
  Json json = read_json("gpt2.json");
  json["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = untrained();
  ASSERT_TRUE(tokenizer->load(json.dump()).ok());
  EXPECT_EQ(encode(*tokenizer, "the fox"), encode(*given("gpt2"), " the fox"));
  EXPECT_EQ(encode(*tokenizer, " the fox"), encode(*given("gpt2"), " the fox"));
  EXPECT_TRUE(encode(*tokenizer, "").empty());
}

TEST_F(HfBpe, ManyThreadsAgree) {
  const auto tokenizer = given("qwen2");
  const auto texts = corpus();
  std::vector<std::vector<std::int32_t>> expected;
  for (const auto& text : texts) expected.push_back(encode(*tokenizer, text));
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::int32_t> ids;
      for (std::size_t i = 0; i < 3 * texts.size(); ++i) {
        ids.clear();
        const std::size_t at = (i * 7 + t * 10) % texts.size();
        if (!tokenizer->encode(texts[at], ids).ok() || ids != expected[at]) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

// ---- training ----

TEST_F(HfBpe, TrainingIsAPureFunctionAndBringsTextBack) {
  for (const char* family : {"gpt2", "llama3", "qwen2", "deepseek3"}) {
    std::string first;
    for (int round = 0; round < 2; ++round) {
      const auto tokenizer = untrained(family);
      ASSERT_TRUE(tokenizer->needs_training());
      EXPECT_EQ(tokenizer->vocabulary_size(), 500);
      const Status status = train(*tokenizer, corpus());
      ASSERT_TRUE(status.ok()) << status.error().render();
      EXPECT_FALSE(tokenizer->needs_training());
      EXPECT_EQ(tokenizer->vocabulary_size(), 500);
      EXPECT_EQ(tokenizer->special_tokens().beginning, 0);
      EXPECT_EQ(tokenizer->special_tokens().end, 1);
      EXPECT_EQ(tokenizer->special_tokens().padding, 2);
      if (round == 0) first = tokenizer->serialize();
      EXPECT_TRUE(tokenizer->serialize() == first) << family;
      for (const std::string text : {"the theory of the thing", "  \n\t x", "日本語 \xF0\x9F\x98\x80", "\xFF\xFE"})
        EXPECT_EQ(decode(*tokenizer, encode(*tokenizer, text)), text) << family;
      EXPECT_LT(encode(*tokenizer, "the theory of the thing").size(), 12u);
    }
  }
  EXPECT_NE(host_.logs().back().text.find("trained 500 tokens"), std::string::npos);
}

TEST_F(HfBpe, TrainingTakesTheMostFrequentPairAndOfEqualOnesTheSmallerIds) {
  const auto tokenizer = *make(host_, testkit::map({{"family", "gpt2"}, {"vocabulary", 262}, {"min_frequency", 1}}));
  ASSERT_TRUE(train(*tokenizer, {"zy zy zy ab ab ab q"}).ok());
  // "ab", "zy" and " a" are three times there. The first goes before the others by its ids; with it " a" is gone and " ab"
  // there, whose space, U+0120, has a later id than z.
  const Json model = Json::parse(tokenizer->serialize())["model"];
  EXPECT_EQ(model["merges"], Json::parse(R"([["a","b"],["z","y"],["Ġ","ab"]])"));
  EXPECT_EQ(model["vocab"]["!"], 3);
  EXPECT_EQ(model["vocab"]["Ġab"], 261);
}

TEST_F(HfBpe, TrainingMakesTheSpecialTokensThatAreAskedFor) {
  const auto tokenizer = *make(host_, testkit::map({{"vocabulary", 500}, {"special", "<|fim_end|>"}}));
  ASSERT_TRUE(train(*tokenizer, corpus()).ok());
  EXPECT_EQ(encode(*tokenizer, "<|fim_end|>"), std::vector<std::int32_t>{3}); // behind beginning, end and padding
  EXPECT_EQ(encode(*tokenizer, "a<|fim_end|>").back(), 3);
}

TEST_F(HfBpe, TooLittleTextIsAnErrorThatSaysSo) {
  for (const std::vector<std::string>& texts : {std::vector<std::string>{}, {""}, {"a few words"}}) {
    const auto tokenizer = untrained("llama3", 4000);
    const Status status = train(*tokenizer, texts);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::invalid_argument);
    EXPECT_NE(status.error().what.find("of the 4000 that were asked for"), std::string::npos) << status.error().what;
    EXPECT_TRUE(tokenizer->needs_training());
  }
}

TEST_F(HfBpe, TrainingStopsWhenAsked) {
  host_.request_stop();
  const Status status = train(*untrained(), corpus());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::stopped);
}

// ---- state and files ----

TEST_F(HfBpe, StateLoadsBackAndRefusesDamage) {
  const auto tokenizer = given("llama3");
  const std::string state = tokenizer->serialize();
  EXPECT_TRUE(state == file_bytes(testdata("llama3.json")));
  const auto other = untrained();
  ASSERT_TRUE(other->load(state).ok());
  EXPECT_FALSE(other->needs_training());
  for (const std::string& bad :
       {std::string(), std::string("text"), state.substr(0, state.size() / 2), std::string("{}"), std::string("[1]"),
        std::string(100, '\xFF'), std::string(100'000, '[')}) {
    EXPECT_FALSE(other->load(bad).ok());
    EXPECT_TRUE(other->serialize() == state) << "a refused state must change nothing";
  }
  EXPECT_EQ(encode(*other, "the fox"), encode(*tokenizer, "the fox"));
}

TEST_F(HfBpe, UseBeforeTrainingAndForeignIdsAreErrors) {
  std::vector<std::int32_t> ids;
  std::string text;
  EXPECT_FALSE(untrained()->encode("a", ids).ok());
  EXPECT_FALSE(untrained()->decode(ids.data(), 0, text).ok());
  const auto tokenizer = given("gpt2");
  for (const std::int32_t id : {-1, 703}) EXPECT_FALSE(tokenizer->decode(&id, 1, text).ok());
}

TEST_F(HfBpe, MissingAndUnfitFilesNameThemselves) {
  const testkit::TemporaryDir dir;
  for (const auto& path : {dir.path() / "none.json", dir.write("bad.json", "nonsense"), dir.write("empty.json", "")}) {
    const auto made = make(host_, testkit::map({{"file", path}}));
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().where, path.string());
  }
  testkit::FakeHost check({.phase = Phase::check}); // which may not touch files
  EXPECT_TRUE(make(check, testkit::map({{"file", dir.path() / "none.json"}})).ok());
}

TEST_F(HfBpe, WritesTheFilesOfHuggingFace) {
  const testkit::TemporaryDir dir;
  const auto tokenizer = given("llama3");
  ASSERT_TRUE(tokenizer->write(dir.path().string()).ok());
  EXPECT_TRUE(file_bytes(dir.path() / "tokenizer.json") == file_bytes(testdata("llama3.json")));
  const Json config = Json::parse(file_bytes(dir.path() / "tokenizer_config.json"));
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["bos_token"], "<|begin_of_text|>");
  EXPECT_EQ(config["eos_token"], "<|end_of_text|>");
  EXPECT_FALSE(config.contains("pad_token"));
  const Json map = Json::parse(file_bytes(dir.path() / "special_tokens_map.json"));
  EXPECT_EQ(map["eos_token"], "<|end_of_text|>");
  const Status failed = tokenizer->write((dir.path() / "not" / "there").string());
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Code::storage);
}

// ---- what is refused, and how it is said ----

struct Refusal {
  const char* name;
  const char* patch; ///< JSON Patch (RFC 6902) of gpt2.json or deepseek3.json
  const char* says;
  Code code = Code::unsupported;
  const char* family = "gpt2";
};

/// For the names of tests: a struct is printed as its bytes otherwise.
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class Refused : public HfBpe, public testing::WithParamInterface<Refusal> {};

TEST_P(Refused, ByPlaceAndName) {
  const Refusal& refusal = GetParam();
  const Json json = read_json(std::string(refusal.family) + ".json").patch(Json::parse(refusal.patch));
  const Status status = load(json);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, refusal.code);
  EXPECT_NE(status.error().what.find(refusal.says), std::string::npos) << status.error().what;
  EXPECT_FALSE(status.error().fix.empty());
}

constexpr Code wrong = Code::invalid_argument;
INSTANTIATE_TEST_SUITE_P(
    Files, Refused,
    testing::Values(
        Refusal{"Model", R"([{"op":"replace","path":"/model/type","value":"Unigram"}])", "model.type is 'Unigram'"},
        Refusal{"Fallback", R"([{"op":"replace","path":"/model/byte_fallback","value":true}])",
                "model.byte_fallback is true"},
        Refusal{"Dropout", R"([{"op":"replace","path":"/model/dropout","value":0.1}])", "model.dropout is 0.1"},
        Refusal{"Suffix", R"([{"op":"replace","path":"/model/end_of_word_suffix","value":"</w>"}])",
                "model.end_of_word_suffix is \"</w>\""},
        Refusal{"Bytes", R"([{"op":"remove","path":"/model/vocab/a"}])", "no token for the byte 97", wrong},
        Refusal{"Merge", R"([{"op":"add","path":"/model/merges/0","value":["a","nothing"]}])",
                "model.merges[0] names 'nothing'", wrong},
        Refusal{"MergeForm", R"([{"op":"add","path":"/model/merges/2","value":"a b c"}])", "model.merges[2] is no pair",
                wrong},
        Refusal{"Twice", R"([{"op":"add","path":"/model/vocab/twice","value":7}])", "gives the id 7 twice", wrong},
        Refusal{"Large", R"([{"op":"add","path":"/model/vocab/large","value":4294967296}])",
                "model.vocab['large'] is no id", wrong},
        Refusal{"Normalizer", R"([{"op":"replace","path":"/normalizer","value":{"type":"Lowercase"}}])",
                "normalizer is the normaliser 'Lowercase'"},
        Refusal{
            "NormalizerInside",
            R"([{"op":"replace","path":"/normalizer","value":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]}}])",
            "normalizer.normalizers[1] is the normaliser 'NFKC'"},
        Refusal{"NoByteLevel", R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"Digits"}}])",
                "pre_tokenizer is without ByteLevel"},
        Refusal{"PreTokenizer", R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"Whitespace"}}])",
                "pre_tokenizer is the pre-tokeniser 'Whitespace'"},
        Refusal{"Pattern", R"([{"op":"replace","path":"/pre_tokenizer/pretokenizers/0/pattern/Regex","value":"\\d+"}])",
                "pre_tokenizer.pretokenizers[0] splits by a pattern that is not known here: \\d+", Code::unsupported,
                "deepseek3"},
        Refusal{"Behavior", R"([{"op":"replace","path":"/pre_tokenizer/pretokenizers/1/behavior","value":"Removed"}])",
                "pre_tokenizer.pretokenizers[1].behavior is \"Removed\"", Code::unsupported, "deepseek3"},
        Refusal{"Decoder", R"([{"op":"replace","path":"/decoder","value":{"type":"WordPiece"}}])",
                "decoder is 'WordPiece'"},
        Refusal{"SingleWord", R"([{"op":"replace","path":"/added_tokens/0/single_word","value":true}])",
                "added_tokens[0].single_word is true"},
        Refusal{"AddedId", R"([{"op":"replace","path":"/added_tokens/1/id","value":9000}])",
                "'<tool_call>' has the id 9000, but Hugging Face's tokenizers gives it 700", wrong}),
    [](const auto& test) { return test.param.name; });

TEST_F(HfBpe, WhatIsNoMatchMayBeRemovedWhereEverythingMatches) {
  Json json = read_json("llama3.json");
  json["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed";
  json["pre_tokenizer"]["pretokenizers"][0]["invert"] = true;
  EXPECT_TRUE(load(json).ok());
}

/// Any outcome but a crash, a hang or an id outside the vocabulary; what loads loads back.
TEST_F(HfBpe, TenThousandMutantsOfAFile) {
  Json small = read_json("deepseek3.json");
  small["model"]["merges"].erase(small["model"]["merges"].begin() + 40, small["model"]["merges"].end());
  const std::string seed = small.dump();
  const std::string pieces[] = {"null",
                                "true",
                                "-1",
                                "1e9",
                                "{}",
                                "[",
                                "]",
                                "\"",
                                "\\u0000",
                                "\"\"",
                                ",",
                                "99999999999999999999",
                                "\"id\":",
                                "[\"a\",\"b\"]",
                                "\xFF",
                                "Split",
                                "NFC",
                                "Sequence",
                                "\"special\":true"};
  const auto tokenizer = untrained();
  std::uint32_t state = 17;
  const auto draw = [&state](std::size_t bound) { return ((state = state * 1664525u + 1013904223u) >> 8) % bound; };
  int loaded = 0;
  for (int trial = 0; trial < 10'000; ++trial) {
    std::string text = seed;
    for (std::size_t edit = 0, edits = 1 + draw(3); edit < edits; ++edit) {
      // Half of them before or behind the vocabulary, which is most of the file.
      const std::size_t at = draw(2) == 0   ? draw(text.size())
                             : draw(2) == 0 ? draw(1600)
                                            : text.size() - 1 - draw(1200);
      switch (draw(4)) {
        case 0: text[at] = static_cast<char>(draw(256)); break;
        case 1: text.erase(at, 1 + draw(12)); break;
        case 2: text.insert(at, pieces[draw(std::size(pieces))]); break;
        default: text.insert(at, text.substr(draw(text.size()), 1 + draw(60)));
      }
    }
    if (!tokenizer->load(text).ok()) continue;
    ++loaded;
    const auto ids = encode(*tokenizer, "some text = 17; 日本\n\xFF <tool_call>");
    for (const std::int32_t id : ids) ASSERT_TRUE(id >= 0 && id < tokenizer->vocabulary_size());
    decode(*tokenizer, ids);
    ASSERT_TRUE(tokenizer->serialize() == text);
  }
  EXPECT_GT(loaded, 100) << "the mutants must reach beyond the parser";
}

} // namespace
} // namespace conclave::hf_bpe
