// MinHash: numbers of which two texts share as large a part as their sets of shingles overlap.
//
// Broder, "On the resemblance and containment of documents", 1997: under a random order of all shingles, two sets have the
// same least one with a chance of their Jaccard similarity (the common part over the union). Each function here is such an
// order. Shingles are runs of `ngram` consecutive words, hashed to 64 bits; function i maps a hash x to a_i x + b_i modulo
// 2^64 with an odd a_i, and the least result is taken as signed numbers compare.
//
// Banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4): `rows` functions make the key of one band, so
// two texts of similarity s share a key with a chance of 1 - (1 - s^rows)^bands.
//
// Threading: one thread at a time per object; the result depends on the text and the shape alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::minhash {

struct Shape {
  int ngram = 5, bands = 14, rows = 8; ///< each at least 1
};

class Signer {
 public:
  explicit Signer(const Shape& shape);

  /// The keys of the bands, valid until the next call; none for a text of fewer words than `ngram`.
  std::span<const std::uint64_t> operator()(std::string_view text);

  /// Of the last text: the hashes of its shingles in order, and for each function the least value.
  [[nodiscard]] std::span<const std::uint64_t> shingles() const noexcept { return shingles_; }
  [[nodiscard]] std::span<const std::int64_t> minima() const noexcept {
    return {minima_.data(), static_cast<std::size_t>(shape_.bands * shape_.rows)};
  }
  /// a and b of a function.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> function(std::size_t i) const { return {factor_[i], term_[i]}; }

 private:
  Shape shape_;
  std::vector<std::uint64_t> factor_, term_; ///< as many as fill whole blocks
  std::string scratch_;
  std::vector<std::uint64_t> words_, shingles_, keys_;
  std::vector<std::int64_t> minima_;
};

} // namespace conclave::minhash
