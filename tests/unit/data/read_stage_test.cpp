// The read stage: what a source says beside the text, kept and given back document by document.

#include <gtest/gtest.h>

#include "data/stages.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

/// Hands out documents as they are given, one shard.
class DocumentSource final : public Source {
 public:
  explicit DocumentSource(std::vector<RawDocument> documents) : documents_(std::move(documents)) {}
  Result<std::vector<ShardInfo>> shards() override { return std::vector<ShardInfo>{{"shard", "digest", 1}}; }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo&) override {
    return std::unique_ptr<ShardReader>(std::make_unique<Reader>(documents_));
  }

 private:
  class Reader final : public ShardReader {
   public:
    explicit Reader(const std::vector<RawDocument>& documents) : documents_(documents) {}
    Result<bool> next(RawDocument& out) override {
      if (at_ == documents_.size()) return false;
      out = documents_[at_++];
      return true;
    }

   private:
    const std::vector<RawDocument>& documents_;
    std::size_t at_ = 0;
  };
  std::vector<RawDocument> documents_;
};

/// What the store gives back, read twice: when it is made and from the cache.
std::vector<RawDocument> stored(const std::vector<RawDocument>& documents) {
  const testing::TemporaryFolder folder;
  PrepareRequest request = testing::small_request(folder.path());
  request.domains = {testing::domain("web", 1, std::make_shared<DocumentSource>(documents))};
  StageContext context;
  context.request = &request;
  std::vector<RawDocument> first;
  for (const char* time : {"made", "cached"}) {
    std::vector<RawDocument> found;
    const auto read = read_domains(context, {{{"shard", "digest", 1}}});
    if (!read.ok()) return {{"error", read.error().render()}};
    const TextStore& store = read->front().texts;
    for (std::size_t i = 0; i < store.size(); ++i) {
      const Document document = store.document(i);
      found.push_back({std::string(document.id), std::string(document.text), std::string(document.url),
                       std::string(document.language)});
      EXPECT_EQ(store.bytes(i), document.text.size());
    }
    if (first.empty()) first = found;
    EXPECT_EQ(found, first) << time;
  }
  return first;
}

TEST(ReadStage, KeepsIdAddressAndLanguageOfEachDocument) {
  const std::vector<RawDocument> documents = {{"a", "one", "http://a.example/", "en"},
                                              {"b", "two"},
                                              {"c", "three", "", "zh-Hant"},
                                              {"d", "four", "http://d.example/?q=1#x", "en"},
                                              {"", "", "", "code:go"}};
  EXPECT_EQ(stored(documents), documents);
}

TEST(ReadStage, WhatNoFilterCouldUseCountsAsUnknown) {
  const std::string longest_url(RawDocument::max_url_bytes, 'u'), longest_tag(RawDocument::max_language_bytes, 't');
  EXPECT_EQ(
      stored({{"a\xFF", "one", longest_url, longest_tag},
              {"b", "two", longest_url + "u", longest_tag + "t"},
              {"c", "three", "http://c.example/\xFF", "en\nde"}}),
      (std::vector<RawDocument>{
          {"a\uFFFD", "one", longest_url, longest_tag}, {"b", "two"}, {"c", "three", "http://c.example/\uFFFD"}}));
}

} // namespace
} // namespace conclave::data
