// UnicodeClasses: see unicode_classes.hpp.

#include "unicode_classes.hpp"

#include <algorithm>
#include <iterator>
#include <map>

namespace conclave::hf_bpe {
namespace {

struct Range {
  char32_t first;
  std::uint8_t classes;
};

constexpr Range ranges[] = {
#include "unicode_ranges.inc"
};

} // namespace

UnicodeClasses::UnicodeClasses() {
  std::map<Block, std::uint16_t> known;
  const Range* range = ranges;
  for (std::size_t number = 0; number < index_.size(); ++number) {
    Block block;
    for (std::size_t i = 0; i < block.size(); ++i) {
      while (range + 1 != std::end(ranges) && range[1].first <= (number << 7) + i) ++range;
      block[i] = range->classes;
    }
    const auto [found, added] = known.emplace(block, static_cast<std::uint16_t>(blocks_.size()));
    if (added) blocks_.push_back(block);
    index_[number] = found->second;
  }
  ascii_ = blocks_[index_[0]];
}

const UnicodeClasses& UnicodeClasses::get() {
  static const UnicodeClasses classes;
  return classes;
}

} // namespace conclave::hf_bpe
