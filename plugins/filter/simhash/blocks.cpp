// Block keys: see blocks.hpp.

#include "blocks.hpp"

#include <bit>

namespace conclave::simhash {
namespace {

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that spreads its input.
std::uint64_t spread(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

} // namespace

std::int64_t choose(int n, int k) {
  std::int64_t value = 1;
  for (int i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

BlockKeys::BlockKeys(int distance, int blocks) {
  std::vector<std::uint64_t> block_mask;
  for (int b = 0; b < blocks; ++b) {
    const int begin = 64 * b / blocks, end = 64 * (b + 1) / blocks;
    const std::uint64_t ones = end - begin == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (end - begin)) - 1;
    block_mask.push_back(ones << begin);
  }
  for (std::uint32_t chosen = 0; chosen < (std::uint32_t{1} << blocks); ++chosen) {
    if (std::popcount(chosen) != blocks - distance) continue;
    std::uint64_t mask = 0;
    for (int b = 0; b < blocks; ++b)
      if (chosen >> b & 1) mask |= block_mask[static_cast<std::size_t>(b)];
    masks_.push_back(mask);
  }
}

void BlockKeys::append(std::uint64_t print, std::vector<DedupKey>& out) const {
  // The table's number is mixed in, so that two tables do not bring strangers together. A chance collision of keys costs a
  // comparison and no more.
  for (std::size_t table = 0; table < masks_.size(); ++table)
    out.push_back({spread((print & masks_[table]) ^ spread(0x9E3779B97F4A7C15u * (table + 1))), print});
}

} // namespace conclave::simhash
