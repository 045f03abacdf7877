// DomainSamples: the samples of one domain of a store, numbered, and how one becomes a row of a micro-batch.
//
// Packed: sample k covers tokens [k S, k S + S], S inputs and S labels; consecutive samples share one token, which is a
// label of the first and an input of the second. What is left at the end of the stream (fewer than S + 1 tokens) is in no
// sample. Bucket: sample k is document k, its first S + 1 tokens; an input of one token has no label.
//
// Threading: const.
#pragma once

#include <cstdint>

#include "data/batch_plan.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

class DomainSamples {
 public:
  /// The store outlives this.
  DomainSamples(const TokenStore& store, const PlanSettings& settings, std::size_t domain);

  [[nodiscard]] std::int64_t count() const noexcept { return count_; }
  /// Input tokens of a sample.
  [[nodiscard]] std::int64_t length(std::int64_t sample) const;
  /// Positions that count in the loss.
  [[nodiscard]] std::int64_t loss_tokens(std::int64_t sample) const;
  /// Writes the row of `micro`, whose arrays are zeroed and at least length() wide.
  void fill(std::int64_t sample, std::int64_t row, HostMicroBatch& micro) const;

 private:
  void fill_documents(std::int64_t first, std::int64_t cell, HostMicroBatch& micro) const;
  /// The document that holds token `position` of the stream.
  [[nodiscard]] std::int64_t document_at(std::int64_t position) const;

  const TokenStore* store_;
  std::size_t domain_;
  Split split_;
  bool bucket_, document_attention_;
  std::int64_t max_length_, count_ = 0;
};

} // namespace conclave::data
