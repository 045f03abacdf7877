// Rows of tokens, labels and masks from the store's stream.

#include "data/samples.hpp"

#include <algorithm>
#include <vector>

namespace conclave::data {

DomainSamples::DomainSamples(const TokenStore& store, const PlanSettings& settings, std::size_t domain)
    : store_(&store),
      domain_(domain),
      split_(settings.split),
      bucket_(settings.bucket),
      document_attention_(settings.document_attention),
      max_length_(settings.max_length) {
  const std::int64_t tokens = store.tokens(split_, domain);
  count_ = bucket_ ? store.documents(split_, domain) : std::max<std::int64_t>(0, (tokens - 1) / max_length_);
}

std::int64_t DomainSamples::length(std::int64_t sample) const {
  if (!bucket_) return max_length_;
  const std::int64_t tokens =
      store_->document_start(split_, domain_, sample + 1) - store_->document_start(split_, domain_, sample);
  return std::clamp<std::int64_t>(tokens - 1, 1, max_length_);
}

std::int64_t DomainSamples::document_at(std::int64_t position) const {
  std::int64_t low = 0, high = store_->documents(split_, domain_); // start(low) <= position < start(high)
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (store_->document_start(split_, domain_, middle) <= position ? low : high) = middle;
  }
  return low;
}

std::int64_t DomainSamples::loss_tokens(std::int64_t sample) const {
  if (bucket_) {
    const std::int64_t tokens =
        store_->document_start(split_, domain_, sample + 1) - store_->document_start(split_, domain_, sample);
    return std::min(tokens - 1, max_length_);
  }
  if (!document_attention_) return max_length_;
  // The label of position t is token first + t + 1; it does not count where a document starts there.
  const std::int64_t first = sample * max_length_;
  return max_length_ - (document_at(first + max_length_) - document_at(first));
}

void DomainSamples::fill(std::int64_t sample, std::int64_t row, HostMicroBatch& micro) const {
  const std::int64_t first = bucket_ ? store_->document_start(split_, domain_, sample) : sample * max_length_;
  const std::int64_t inputs = length(sample), cell = row * micro.length;
  const std::int64_t end =
      bucket_ ? store_->document_start(split_, domain_, sample + 1) : store_->tokens(split_, domain_);
  const std::int64_t available = std::min(inputs + 1, end - first);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(available));
  store_->copy(split_, domain_, first, available, ids.data());

  std::copy(ids.begin(), ids.begin() + inputs, micro.tokens.begin() + cell);
  std::copy(ids.begin() + 1, ids.end(), micro.labels.begin() + cell);
  std::fill_n(micro.loss_mask.begin() + cell, available - 1, std::uint8_t{1});
  if (!micro.token_mask.empty()) std::fill_n(micro.token_mask.begin() + cell, inputs, std::uint8_t{1});
  for (std::int64_t t = 0; t < micro.length; ++t) micro.position_ids[static_cast<std::size_t>(cell + t)] = t;
  if (!micro.segment_ids.empty()) fill_documents(first, cell, micro);
}

void DomainSamples::fill_documents(std::int64_t first, std::int64_t cell, HostMicroBatch& micro) const {
  std::int64_t document = document_at(first);
  std::int64_t next = store_->document_start(split_, domain_, document + 1);
  std::int32_t segment = 0;
  std::int64_t position = 0; // a window that begins inside a document counts from its own beginning
  for (std::int64_t t = 0; t < micro.length; ++t) {
    const auto at = static_cast<std::size_t>(cell + t);
    micro.segment_ids[at] = segment;
    micro.position_ids[at] = position++;
    if (first + t + 1 != next) continue;
    micro.loss_mask[at] = 0;
    micro.labels[at] = 0;
    next = store_->document_start(split_, domain_, ++document + 1);
    ++segment;
    position = 0;
  }
}

} // namespace conclave::data
