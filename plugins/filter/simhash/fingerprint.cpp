// SimHash: see fingerprint.hpp.

#include "fingerprint.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "conclave/datakit/utf8.hpp"

namespace conclave::simhash {

std::uint64_t BitCounter::count(int bit) const noexcept {
  std::uint64_t value = 0;
  for (std::size_t p = 0; p < planes_.size(); ++p) value |= ((planes_[p] >> bit) & 1) << p;
  return value;
}

std::uint64_t BitCounter::majority() const noexcept {
  std::uint64_t bits = 0;
  for (int bit = 0; bit < 64; ++bit)
    if (2 * count(bit) > added_) bits |= std::uint64_t{1} << bit;
  return bits;
}

Fingerprint Fingerprinter::operator()(std::string_view text) {
  words_.clear();
  datakit::for_each_word(text, scratch_,
                         [this](std::string_view word) { words_.push_back(XXH3_64bits(word.data(), word.size())); });
  if (words_.empty()) return {};
  BitCounter counter;
  const std::size_t length = std::min(ngram_, words_.size());
  // A feature is the hash of its words' hashes.
  for (std::size_t i = 0; i + length <= words_.size(); ++i)
    counter.add(XXH3_64bits(&words_[i], length * sizeof words_[0]));
  return {counter.majority(), static_cast<std::int64_t>(counter.added())};
}

} // namespace conclave::simhash
