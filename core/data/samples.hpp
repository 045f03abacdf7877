// DomainSamples: the samples of one domain of a store, numbered, and how one becomes a row of a micro-batch.
//
// A sample is up to L + 1 tokens: up to L inputs, each with the next token as its label. There are three kinds:
//   window    sample k covers tokens [k L, k L + L]; consecutive samples share one token, a label of the first and an input of
//             the second. What is left at the end of the stream (fewer than L + 1 tokens) is in no sample.
//   document  sample k is document k, its first L + 1 tokens; a document of one token is an input without a label.
//   pack      sample k is pack k of the table: whole documents back to back.
// Where a document ends within a sample, the next one's first token is the label, unless attention keeps to documents.
//
// Threading: const.
#pragma once

#include <cstdint>
#include <vector>

#include "conclave/random.hpp"
#include "data/batch_plan.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

/// A sample in numbers.
struct SampleSize {
  std::int64_t inputs = 0; ///< 1 to L
  std::int64_t labels = 0; ///< positions that count in the loss
};

/// A sample's tokens; kept from row to row, so that its memory is.
struct SampleTokens {
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> starts; ///< in ids, of the documents that begin behind the first token; where they matter
};

class DomainSamples {
 public:
  /// L = `length`. The store outlives this.
  DomainSamples(const TokenStore& store, const PlanSettings& settings, std::size_t domain, std::int64_t length);

  [[nodiscard]] std::int64_t count() const noexcept { return count_; }
  [[nodiscard]] SampleSize size(std::int64_t sample) const;
  /// The documents that it has tokens of, in their order.
  [[nodiscard]] std::vector<std::int64_t> documents(std::int64_t sample) const;
  /// Writes the row of `micro`, whose arrays are zeroed and at least size().inputs wide; uses `tokens`. `pass`: that of the
  /// domain's stream, from which a document's rearrangement follows.
  void fill(std::int64_t pass, std::int64_t sample, std::int64_t row, HostMicroBatch& micro,
            SampleTokens& tokens) const;

 private:
  enum class Kind { window, document, pack };
  [[nodiscard]] std::int64_t start(std::int64_t document) const {
    return store_->document_start(split_, domain_, document);
  }
  /// The document that holds token `position` of the stream.
  [[nodiscard]] std::int64_t document_at(std::int64_t position) const;
  void append(std::int64_t first, std::int64_t count, SampleTokens& out) const;
  void read(std::int64_t sample, SampleTokens& out) const;
  void rearrange(std::int64_t pass, std::int64_t sample, SampleTokens& tokens) const;

  const TokenStore* store_;
  std::size_t domain_;
  Split split_;
  Kind kind_;
  bool document_attention_;
  std::int64_t length_, count_ = 0;
  std::shared_ptr<const PackTable> packs_;
  FillInMiddle fill_in_middle_;
  bool rearranges_;
  std::int32_t end_token_;
  RandomStream random_;
};

} // namespace conclave::data
