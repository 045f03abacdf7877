// Tests of source/megatron and of the index behind it. Files are written byte by byte, as Megatron's format is described.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "conclave/datakit/megatron.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "megatron_source.hpp"

namespace conclave::megatron {
namespace {

/// Ids are bytes; 256 ends a document and 257 begins one.
class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(bool untrained = false) : untrained_(untrained) {}
  [[nodiscard]] bool needs_training() const override { return untrained_; }
  Status train(const std::function<bool(std::string&)>&) override { return {}; }
  [[nodiscard]] std::string serialize() const override { return {}; }
  Status load(std::string_view) override { return {}; }
  [[nodiscard]] std::int32_t vocabulary_size() const override { return 258; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return {257, 256, -1, -1}; }
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return {};
  }
  Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override {
    text.clear();
    for (std::size_t i = 0; i < count; ++i) text += static_cast<char>(ids[i]);
    return {};
  }
  Status write(const std::string&) const override { return {}; }

 private:
  bool untrained_;
};

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

using Sequence = std::vector<std::int64_t>;
using Corpus = std::vector<std::vector<Sequence>>; ///< documents of sequences of ids

template <class T>
std::pair<std::string, std::string> files(std::uint8_t code, const Corpus& corpus) {
  std::string bin, lengths, offsets, bounds;
  std::uint64_t sequences = 0;
  put<std::int64_t>(bounds, 0);
  for (const auto& document : corpus) {
    for (const Sequence& sequence : document) {
      put(lengths, static_cast<std::int32_t>(sequence.size()));
      put(offsets, static_cast<std::int64_t>(bin.size()));
      for (const std::int64_t id : sequence) put(bin, static_cast<T>(id));
      ++sequences;
    }
    put(bounds, static_cast<std::int64_t>(sequences));
  }
  std::string index("MMIDIDX\0\0", 9);
  put<std::uint64_t>(index, 1);
  put(index, code);
  put(index, sequences);
  put(index, static_cast<std::uint64_t>(corpus.size() + 1));
  return {index + lengths + offsets + bounds, bin};
}

Sequence ids(const std::string& text, bool marks = false) {
  Sequence sequence;
  if (marks) sequence.push_back(257);
  for (const char c : text) sequence.push_back(static_cast<unsigned char>(c));
  if (marks) sequence.push_back(256);
  return sequence;
}

using Outcome = testkit::SourceOutcome;

Outcome read(const std::filesystem::path& folder, std::int64_t max_document = 1 << 20,
             std::size_t* shards_found = nullptr) {
  MegatronOptions options;
  options.paths = {Path{folder.string()}};
  options.tokenizer.plugin = std::make_shared<ByteTokenizer>();
  options.max_document = max_document;
  MegatronSource source(options);
  const auto shards = source.shards();
  if (!shards.ok()) return {{}, 0, shards.error().render()};
  if (shards_found) *shards_found = shards->size();
  return testkit::read_outcome(source);
}

template <class T>
Outcome read_as(std::uint8_t code, const Corpus& corpus) {
  const testkit::TemporaryDir dir;
  const auto [index, bin] = files<T>(code, corpus);
  dir.write("a.idx", index);
  dir.write("a.bin", bin);
  return read(dir.path());
}

TEST(MegatronSource, EveryTypeOfId) {
  const Corpus corpus = {{ids("one")}, {ids("two ", false), ids("parts")}, {}, {{}}, {ids("marks", true)}};
  const std::vector<RawDocument> expected = {{"a.idx#0", "one"}, {"a.idx#1", "two parts"}, {"a.idx#4", "marks"}};
  EXPECT_EQ(read_as<std::int16_t>(3, corpus).documents, expected);
  EXPECT_EQ(read_as<std::int32_t>(4, corpus).documents, expected);
  EXPECT_EQ(read_as<std::int64_t>(5, corpus).documents, expected);
  EXPECT_EQ(read_as<std::uint16_t>(8, corpus).documents, expected);
  EXPECT_EQ(read_as<std::uint8_t>(1, {{ids("\xF0")}}).documents, (std::vector<RawDocument>{{"a.idx#0", "\xF0"}}));
  EXPECT_NE(read_as<float>(7, corpus).error.find("no integers"), std::string::npos);
}

TEST(MegatronSource, IdsOfAnotherTokenizerAreAnError) {
  for (const std::int64_t id : {258, 40000}) {
    const auto outcome = read_as<std::int32_t>(4, {{ids("fine")}, {{id}}});
    EXPECT_EQ(outcome.documents.size(), 1u);
    EXPECT_NE(outcome.error.find(std::to_string(id)), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find("a.bin"), std::string::npos) << outcome.error;
  }
  EXPECT_NE(read_as<std::int32_t>(4, {{{-1}}}).error.find("-1"), std::string::npos);
  testkit::FakeHost host({.phase = Phase::prepare});
  MegatronOptions options;
  options.tokenizer.plugin = std::make_shared<ByteTokenizer>(true);
  EXPECT_FALSE(MegatronSource::make(host, options).ok());
}

TEST(MegatronSource, ManyDocumentsInShards) {
  Corpus corpus;
  std::vector<RawDocument> expected;
  for (int i = 0; i < 9000; ++i) {
    const std::string text = std::to_string(i) + std::string(1000, 'x');
    corpus.push_back({ids(text)});
    expected.push_back({"a.idx#" + std::to_string(i), text});
  }
  const testkit::TemporaryDir dir;
  const auto [index, bin] = files<std::int32_t>(4, corpus);
  dir.write("a.idx", index);
  dir.write("a.bin", bin);
  std::size_t shards = 0;
  EXPECT_TRUE(read(dir.path(), 1 << 20, &shards).documents == expected);
  EXPECT_EQ(shards, 2u);
  const auto none = read(dir.path(), 1000);
  EXPECT_TRUE(none.documents.empty());
  EXPECT_EQ(none.skipped, 9000);
}

/// Whatever an index says, nothing outside of the files is read.
TEST(MegatronSource, EveryPrefixAndEveryChangedByteIsSurvived) {
  const testkit::TemporaryDir dir;
  const auto [index, bin] = files<std::uint16_t>(8, {{ids("one")}, {ids("two"), ids("2")}, {ids("three")}});
  dir.write("a.bin", bin);
  for (std::size_t length = 0; length < index.size(); ++length) {
    dir.write("a.idx", index.substr(0, length));
    const auto outcome = read(dir.path());
    EXPECT_NE(outcome.error.find("a.idx"), std::string::npos) << length << outcome.error;
  }
  for (std::size_t byte = 0; byte < index.size(); ++byte) {
    for (const int change : {1, 0x40, 0x80, 0xFF}) {
      std::string changed = index;
      changed[byte] = static_cast<char>(changed[byte] ^ change);
      dir.write("a.idx", changed);
      const auto outcome = read(dir.path()); // under a sanitizer this says more
      EXPECT_LE(outcome.documents.size(), 3u);
      EXPECT_TRUE(byte >= 17 || !outcome.error.empty()) << byte;
    }
  }
  dir.write("a.idx", index);
  dir.write("a.bin", bin.substr(0, bin.size() - 1));
  EXPECT_NE(read(dir.path()).error.find("beyond the end"), std::string::npos);
}

TEST(MegatronIndex, ReadsAnyRange) {
  const testkit::TemporaryDir dir;
  const auto [index, bin] = files<std::uint16_t>(8, {{ids("one")}, {}, {ids("two"), ids("2")}, {ids("three")}});
  const auto index_path = dir.write("a.idx", index), tokens_path = dir.write("a.bin", bin);
  const auto opened = datakit::MegatronIndex::open(index_path.string(), tokens_path.string());
  ASSERT_TRUE(opened.ok()) << opened.error().render();
  EXPECT_EQ(opened->documents(), 4);
  EXPECT_EQ(opened->sequences(), 4);
  const auto middle = opened->read(1, 2);
  ASSERT_TRUE(middle.ok());
  ASSERT_EQ(middle->size(), 2u);
  EXPECT_EQ((*middle)[0].document, 2);
  EXPECT_EQ((*middle)[0].offset, 6);
  EXPECT_EQ((*middle)[1].offset, 12);
  EXPECT_EQ((*middle)[1].tokens, 1);
  EXPECT_TRUE(opened->read(4, 0)->empty());
}

} // namespace
} // namespace conclave::megatron
