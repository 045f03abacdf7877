// Token counts and their entropy.

#include "data/statistics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace conclave::data {
namespace {

constexpr std::int64_t block = 1 << 16;

double entropy(const std::vector<std::int64_t>& counts) {
  double total = 0, weighted = 0;
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    const auto n = static_cast<double>(count);
    total += n;
    weighted += n * std::log(n);
  }
  return total == 0 ? std::numeric_limits<double>::quiet_NaN() : std::log(total) - weighted / total;
}

} // namespace

UnigramEntropy unigram_entropy(const TokenStore& store, Split split) {
  UnigramEntropy result;
  std::vector<std::int64_t> pooled(static_cast<std::size_t>(store.vocabulary_size()));
  std::vector<std::int32_t> ids(block);
  for (std::size_t d = 0; d < store.domain_count(); ++d) {
    std::vector<std::int64_t> counts(pooled.size());
    const std::int64_t tokens = store.tokens(split, d);
    for (std::int64_t first = 0; first < tokens; first += block) {
      const std::int64_t count = std::min(block, tokens - first);
      store.copy(split, d, first, count, ids.data());
      for (std::int64_t i = 0; i < count; ++i) ++counts[static_cast<std::size_t>(ids[static_cast<std::size_t>(i)])];
    }
    for (std::size_t i = 0; i < counts.size(); ++i) pooled[i] += counts[i];
    result.domains.push_back(entropy(counts));
  }
  result.total = entropy(pooled);
  return result;
}

double bytes_per_token(const TokenStore& store, Split split, std::size_t domain) {
  const std::int64_t tokens = store.tokens(split, domain);
  if (tokens == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(store.text_bytes(split, domain)) / static_cast<double>(tokens);
}

void LengthHistogram::add(std::int64_t length) {
  if (length <= 0) return;
  const auto bucket = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(length)) - 1);
  if (counts.size() <= bucket) counts.resize(bucket + 1);
  ++counts[bucket];
  ++documents;
  total += length;
  largest = std::max(largest, length);
}

LengthHistogram token_lengths(const TokenStore& store, Split split, std::size_t domain) {
  LengthHistogram histogram;
  const std::int64_t documents = store.documents(split, domain);
  for (std::int64_t i = 0; i < documents; ++i)
    histogram.add(store.document_start(split, domain, i + 1) - store.document_start(split, domain, i));
  return histogram;
}

} // namespace conclave::data
