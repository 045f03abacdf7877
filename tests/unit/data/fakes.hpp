// Stand-ins for the tests of the data room: sources, filters and tokenizers of a few lines, and a store in memory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/prepare.hpp"
#include "data/token_store.hpp"
#include "io/digest.hpp"

namespace conclave::data::testing {

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "conclave-data-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

using Shards = std::vector<std::vector<std::string>>;

/// Shards of texts in memory; counts how often a shard is opened.
class FakeSource final : public Source {
 public:
  explicit FakeSource(std::vector<std::vector<std::string>> shards) : shards_(std::move(shards)) {}

  Result<std::vector<ShardInfo>> shards() override {
    std::vector<ShardInfo> all;
    for (std::size_t s = 0; s < shards_.size(); ++s) {
      Digest digest;
      for (const std::string& text : shards_[s]) digest.text(text);
      all.push_back({std::to_string(s), digest.hex(), shard_bytes});
    }
    return all;
  }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override {
    ++opened;
    return std::unique_ptr<ShardReader>(std::make_unique<Reader>(shard.id, shards_[std::stoul(shard.id)]));
  }

  std::atomic<int> opened = 0;
  std::int64_t shard_bytes = 20 << 20; ///< one part per shard

 private:
  class Reader final : public ShardReader {
   public:
    Reader(std::string id, const std::vector<std::string>& texts) : id_(std::move(id)), texts_(&texts) {}
    Result<bool> next(RawDocument& out) override {
      if (at_ == texts_->size()) return false;
      out = {id_ + "#" + std::to_string(at_), (*texts_)[at_]};
      ++at_;
      return true;
    }
    [[nodiscard]] std::int64_t skipped() const override { return 1; }

   private:
    std::string id_;
    const std::vector<std::string>* texts_;
    std::size_t at_ = 0;
  };

  std::vector<std::vector<std::string>> shards_;
};

/// Keeps texts of at least `least` bytes.
class BytesFilter final : public Filter {
 public:
  BytesFilter(std::int64_t least, std::atomic<int>* annotated) : least_(least), annotated_(annotated) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return {{"bytes", ColumnType::integer, ""}}; }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i)
      writer.set(i, 0, static_cast<std::int64_t>(documents[i].text.size()));
    if (annotated_ != nullptr) *annotated_ += static_cast<int>(documents.size());
  }
  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    return row.integer(0) < least_ ? Verdict::drop("few-bytes") : Verdict::keep();
  }

 private:
  std::int64_t least_;
  std::atomic<int>* annotated_;
};

/// Drops texts that are equal to an earlier one.
class EqualFilter final : public DedupFilter {
 public:
  explicit EqualFilter(bool across) : across_(across) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return {{"hash", ColumnType::bits64, ""}}; }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i) writer.set_bits(i, 0, hash_text(documents[i].text));
  }
  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }
  void keys(const ColumnRow& row, std::vector<DedupKey>& out) const override {
    out.push_back({row.bits(0), 0});
    out.push_back({row.bits(0), 0}); // a key given twice is one key
  }
  [[nodiscard]] bool same(std::uint64_t, std::uint64_t) const override { return false; }
  [[nodiscard]] const char* reason() const override { return "equal"; }
  [[nodiscard]] DedupScope scope() const override {
    return {across_ ? DedupScope::Within::corpus : DedupScope::Within::domain, {}};
  }

 private:
  bool across_;
};

/// One token per byte; 256 ends a text. With `trained`, it must be trained first and its state is what it was trained on.
class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(bool trained = false, std::int32_t vocabulary = 257)
      : trained_(trained), vocabulary_(vocabulary) {}
  [[nodiscard]] bool needs_training() const override { return trained_ && state.empty(); }
  Status train(const std::function<bool(std::string& text)>& next) override {
    ++trainings;
    std::string text;
    while (next(text)) state += "[" + text + "]";
    return {};
  }
  [[nodiscard]] std::string serialize() const override { return state; }
  Status load(std::string_view bytes) override {
    state = bytes;
    return {};
  }
  [[nodiscard]] std::int32_t vocabulary_size() const override { return vocabulary_; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return {-1, 256, -1, -1}; }
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return {};
  }
  Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override {
    for (std::size_t i = 0; i < count; ++i) text += static_cast<char>(ids[i]);
    return {};
  }
  Status write(const std::string&) const override { return {}; }

  std::string state;
  int trainings = 0;

 private:
  bool trained_;
  std::int32_t vocabulary_;
};

inline FilterStage bytes_filter(std::int64_t least, std::atomic<int>* annotated = nullptr) {
  return {"bytes",
          "filter/bytes",
          [=]() -> Result<std::shared_ptr<Filter>> {
            return std::shared_ptr<Filter>(std::make_shared<BytesFilter>(least, annotated));
          },
          "bytes 1",
          "bytes 1 " + std::to_string(least),
          {}};
}
inline FilterStage equal_filter(bool across = true) {
  return {"equal",
          "filter/equal",
          [=]() -> Result<std::shared_ptr<Filter>> {
            return std::shared_ptr<Filter>(std::make_shared<EqualFilter>(across));
          },
          "equal 1",
          across ? "equal 1 across" : "equal 1 within",
          {}};
}
inline DomainInput domain(std::string name, double share, std::shared_ptr<Source> source) {
  return {name, share, "source/fake", std::move(source), "fake 1"};
}

/// `count` different texts of 20 to about 120 bytes.
inline std::vector<std::string> some_texts(const std::string& stem, int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    std::string text = stem + " " + std::to_string(i) + ":";
    while (text.size() < static_cast<std::size_t>(20 + i * 37 % 100))
      text += " word" + std::to_string(text.size() * 7 % 13);
    texts.push_back(text);
  }
  return texts;
}

/// Two domains of three shards each.
inline PrepareRequest small_request(const std::filesystem::path& cache) {
  PrepareRequest request;
  request.domains = {
      domain("web", 3,
             std::make_shared<FakeSource>(Shards{some_texts("a", 90), some_texts("b", 80), some_texts("c", 70)})),
      domain("code", 1,
             std::make_shared<FakeSource>(Shards{some_texts("d", 60), some_texts("e", 50), some_texts("f", 40)}))};
  request.tokenizer = std::make_shared<ByteTokenizer>();
  request.tokenizer_id = "tokenizer/fake";
  request.tokenizer_key = "fake 1";
  request.max_tokens = 64;
  request.too_long = 1;
  request.held_out = 0.1;
  request.cache = cache;
  request.workers = 2;
  return request;
}

/// The count of a row of the report; -1 when there is none.
inline std::int64_t documents_of(const PrepareReport& report, const std::string& filter, const std::string& domain,
                                 const std::string& reason) {
  for (const FilterCount& count : report.counts)
    if (count.filter == filter && count.domain == domain && count.reason == reason) return count.documents;
  return -1;
}
inline std::int64_t bytes_of(const PrepareReport& report, const std::string& filter, const std::string& domain,
                             const std::string& reason) {
  for (const FilterCount& count : report.counts)
    if (count.filter == filter && count.domain == domain && count.reason == reason) return count.bytes;
  return -1;
}

/// Documents in memory: documents[domain] for the train split; the held-out split is the same text.
class MemoryStore final : public TokenStore {
 public:
  MemoryStore(std::vector<double> shares, std::vector<std::vector<std::vector<std::int32_t>>> domains,
              std::int32_t vocabulary = 1000, std::int32_t end_token = -1)
      : shares_(std::move(shares)), vocabulary_(vocabulary), end_token_(end_token) {
    for (const auto& documents : domains) {
      auto& stream = streams_.emplace_back();
      auto& starts = starts_.emplace_back(1, 0);
      for (const auto& document : documents) {
        stream.insert(stream.end(), document.begin(), document.end());
        starts.push_back(static_cast<std::int64_t>(stream.size()));
      }
      names_.push_back("domain" + std::to_string(names_.size()));
    }
  }
  [[nodiscard]] const std::string& digest() const override { return digest_; }
  [[nodiscard]] std::size_t domain_count() const override { return streams_.size(); }
  [[nodiscard]] const std::string& domain_name(std::size_t domain) const override { return names_[domain]; }
  [[nodiscard]] double share(std::size_t domain) const override { return shares_[domain]; }
  [[nodiscard]] std::int64_t documents(Split, std::size_t domain) const override {
    return static_cast<std::int64_t>(starts_[domain].size()) - 1;
  }
  [[nodiscard]] std::int64_t tokens(Split, std::size_t domain) const override {
    return static_cast<std::int64_t>(streams_[domain].size());
  }
  [[nodiscard]] std::int64_t text_bytes(Split split, std::size_t domain) const override {
    return 4 * tokens(split, domain);
  }
  void copy(Split, std::size_t domain, std::int64_t first, std::int64_t count, std::int32_t* out) const override {
    ASSERT_LE(first + count, static_cast<std::int64_t>(streams_[domain].size()));
    std::copy_n(streams_[domain].begin() + first, count, out);
  }
  [[nodiscard]] std::int64_t document_start(Split, std::size_t domain, std::int64_t i) const override {
    return starts_[domain][static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::int32_t vocabulary_size() const override { return vocabulary_; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return {-1, end_token_, -1, -1}; }
  [[nodiscard]] const std::filesystem::path& directory() const override { return directory_; }

 private:
  std::vector<double> shares_;
  std::vector<std::vector<std::int32_t>> streams_;
  std::vector<std::vector<std::int64_t>> starts_;
  std::vector<std::string> names_;
  std::string digest_ = "memory";
  std::filesystem::path directory_;
  std::int32_t vocabulary_, end_token_;
};

} // namespace conclave::data::testing
