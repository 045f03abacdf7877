// SimHash: 64 bits of which two similar texts share most.
//
// Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002: each feature is hashed to 64 bits, and
// bit b of the print says whether more features have it set than not. For two texts the expected share of differing bits is
// the angle between their feature vectors over pi. Features here are runs of `ngram` consecutive words, each occurrence
// counted once (a vector of frequencies).
//
// Threading: one thread at a time per object; the result depends on the text alone.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::simhash {

/// Counts, for each of 64 bit positions, how many of the added words have it set. Bit-sliced: plane p holds bit p of all 64
/// counters, so adding is a ripple of a few ANDs and XORs instead of 64 additions.
class BitCounter {
 public:
  void add(std::uint64_t bits) noexcept {
    for (auto& plane : planes_) {
      const std::uint64_t carry = plane & bits;
      plane ^= bits;
      if (carry == 0) break;
      bits = carry;
    }
    ++added_;
  }
  [[nodiscard]] std::uint64_t added() const noexcept { return added_; }
  [[nodiscard]] std::uint64_t count(int bit) const noexcept;
  /// The positions set in more than half of the added words.
  [[nodiscard]] std::uint64_t majority() const noexcept;
  void clear() noexcept { *this = {}; }

 private:
  std::array<std::uint64_t, 40> planes_{};
  std::uint64_t added_ = 0;
};

struct Fingerprint {
  std::uint64_t bits = 0;
  std::int64_t features = 0; ///< how many the print was made of
};

class Fingerprinter {
 public:
  /// ngram >= 1. A text with fewer words than `ngram` is one feature; without words it has none.
  explicit Fingerprinter(int ngram) : ngram_(static_cast<std::size_t>(ngram)) {}
  Fingerprint operator()(std::string_view text);

 private:
  std::size_t ngram_;
  std::string scratch_;
  std::vector<std::uint64_t> words_;
};

} // namespace conclave::simhash
