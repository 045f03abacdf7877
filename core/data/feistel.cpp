// A balanced Feistel network over 2 * half_bits bits; what falls outside the size is permuted again until it is inside.

#include "data/feistel.hpp"

#include <bit>

namespace conclave::data {
namespace {

// The finaliser of MurmurHash3: every output bit depends on every input bit.
std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdull;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

} // namespace

Permutation::Permutation(std::uint64_t size, const RandomStream& stream, std::uint64_t number) noexcept
    : size_(size), half_bits_(size <= 1 ? 0 : (std::bit_width(size - 1) + 1) / 2) {
  constexpr std::uint64_t draws = rounds + 1;
  for (std::size_t r = 0; r < keys_.size(); ++r) keys_[r] = stream.bits(number * draws + r);
  swap_ = (stream.bits(number * draws + rounds) & 1) != 0;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const noexcept {
  if (half_bits_ == 0) return index;
  if (swap_ && index < 2) index ^= 1;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = index >> half_bits_, right = index & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (mix(right + key) >> (64 - half_bits_));
      left = right;
      right = next;
    }
    index = left << half_bits_ | right;
  } while (index >= size_); // a bijection on a finite set: the walk comes back inside
  return index;
}

} // namespace conclave::data
