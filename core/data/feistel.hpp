// Permutation: a bijection of [0, size) that needs no memory: a keyed Feistel network with cycle walking.
//
// What this is: the shuffle of a domain's samples in one epoch (Black and Rogaway, "Ciphers with arbitrary finite
// domains", CT-RSA 2002). What this is not: cryptography; it only has to look random to a training run.
//
// Threading: const and pure.
#pragma once

#include <array>
#include <cstdint>

#include "conclave/random.hpp"

namespace conclave::data {

class Permutation {
 public:
  /// Fewer show in the orders of ten samples and less; for many samples six would do.
  static constexpr int rounds = 10;

  /// size >= 1. Permutations with different `number` of one stream are independent for practical purposes.
  Permutation(std::uint64_t size, const RandomStream& stream, std::uint64_t number) noexcept;

  /// Where index (in [0, size)) goes.
  [[nodiscard]] std::uint64_t operator()(std::uint64_t index) const noexcept;

 private:
  std::uint64_t size_;
  int half_bits_; ///< the network permutes [0, 2^(2 * half_bits)), less than four times size
  std::array<std::uint64_t, rounds> keys_;
  bool swap_; ///< the first two: the network alone makes even permutations only, as seen over its whole range
};

} // namespace conclave::data
