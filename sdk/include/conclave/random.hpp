// Stateless random numbers: the n-th draw of a named stream is a pure function of (seed, name, n).
//
// What this is: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
// keyed by a hash of the seed and the stream's name. There is no state to save: a checkpoint keeps (seed, counter), and
// the initial weights of a parameter do not depend on how it is sharded. What this is not: cryptography.
//
// Threading: const and pure; use one stream from any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace conclave {

class RandomStream {
 public:
  /// Streams with different (seed, name) are independent for every practical purpose.
  RandomStream(std::uint64_t seed, std::string_view name) noexcept;

  /// Four independent 32-bit words for counter n.
  [[nodiscard]] std::array<std::uint32_t, 4> block(std::uint64_t n) const noexcept;
  /// 64 uniform bits; draw n.
  [[nodiscard]] std::uint64_t bits(std::uint64_t n) const noexcept;
  /// Uniform in [0, 1) with 53 random bits; draw n.
  [[nodiscard]] double uniform(std::uint64_t n) const noexcept;
  /// Standard normal by Box and Muller's method on the two halves of block n / 2; draw n.
  [[nodiscard]] double normal(std::uint64_t n) const noexcept;
  /// Uniform integer in [0, bound) by multiply-shift; bound > 0; the bias is below bound / 2^64.
  [[nodiscard]] std::uint64_t below(std::uint64_t n, std::uint64_t bound) const noexcept;

  /// Key and upper half of the counter: for a generator of the same numbers on another device.
  [[nodiscard]] std::array<std::uint32_t, 4> state() const noexcept {
    return {key_[0], key_[1], stream_[0], stream_[1]};
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 2> stream_; // upper half of the counter
};

} // namespace conclave
