// MinHash: see signature.hpp.

#include "signature.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <random>

#include "conclave/datakit/utf8.hpp"

/// Compiles a function for AVX-512 and AVX2 too; the loader picks. The bits are the same. Not under sanitizers: their
/// run-time is not up when the loader runs resolvers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CONCLAVE_MINHASH_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define CONCLAVE_MINHASH_CLONES
#endif

namespace conclave::minhash {
namespace {

/// Functions at once: their least values stay in registers, or nearly.
constexpr std::size_t block = 16;

CONCLAVE_MINHASH_CLONES void lower_minima(const std::uint64_t* shingles, std::size_t count, const std::uint64_t* factor,
                                          const std::uint64_t* term, std::int64_t* minima) {
  std::int64_t least[block];
  std::copy_n(minima, block, least);
  for (std::size_t s = 0; s < count; ++s) {
    const std::uint64_t x = shingles[s];
    for (std::size_t i = 0; i < block; ++i) {
      const auto value = static_cast<std::int64_t>(x * factor[i] + term[i]);
      least[i] = value < least[i] ? value : least[i];
    }
  }
  std::copy_n(least, block, minima);
}

} // namespace

Signer::Signer(const Shape& shape) : shape_(shape), keys_(static_cast<std::size_t>(shape.bands)) {
  const auto functions = static_cast<std::size_t>(shape.bands * shape.rows);
  minima_.resize((functions + block - 1) / block * block);
  std::mt19937_64 random; // the same numbers in every run: the standard says which
  for (std::size_t i = 0; i < minima_.size(); ++i) {
    factor_.push_back(random() | 1);
    term_.push_back(random());
  }
}

std::span<const std::uint64_t> Signer::operator()(std::string_view text) {
  words_.clear();
  shingles_.clear();
  datakit::for_each_word(text, scratch_,
                         [this](std::string_view word) { words_.push_back(XXH3_64bits(word.data(), word.size())); });
  const auto ngram = static_cast<std::size_t>(shape_.ngram);
  for (std::size_t i = 0; i + ngram <= words_.size(); ++i)
    shingles_.push_back(XXH3_64bits(&words_[i], ngram * sizeof words_[0]));
  std::ranges::fill(minima_, std::numeric_limits<std::int64_t>::max());
  if (shingles_.empty()) return {};
  for (std::size_t i = 0; i < minima_.size(); i += block)
    lower_minima(shingles_.data(), shingles_.size(), &factor_[i], &term_[i], &minima_[i]);
  // The band's number is mixed in: equal values of different bands are no likeness.
  const auto rows = static_cast<std::size_t>(shape_.rows);
  for (std::size_t band = 0; band < keys_.size(); ++band)
    keys_[band] = XXH3_64bits_withSeed(&minima_[band * rows], rows * sizeof minima_[0], band);
  return keys_;
}

} // namespace conclave::minhash
