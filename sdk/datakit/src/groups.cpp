// Groups: see groups.hpp.

#include "conclave/datakit/groups.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "conclave/datakit/utf8.hpp"

namespace conclave::datakit {

Groups::Groups() { reset(); }

void Groups::reset() {
  keys_.clear();
  counts_.clear();
  start(6);
}

/// An empty table of 2^bits slots.
void Groups::start(int bits) {
  shift_ = 64 - bits;
  if (size_of_table() > slots_.size() || ++generation_ == 0) {
    slots_.assign(std::max(size_of_table(), slots_.size()), {});
    generation_ = 1;
  }
}

void Groups::grow() {
  start(64 - shift_ + 2);
  for (std::size_t group = 0; group < keys_.size(); ++group)
    find(keys_[group]) = {keys_[group], generation_, static_cast<std::uint32_t>(group)};
}

/// The slot with that key, or a free one for it.
Groups::Slot& Groups::find(std::uint64_t key) {
  // Fibonacci hashing: the upper bits of a product with the golden ratio.
  const std::size_t mask = size_of_table() - 1;
  std::size_t at = key * 0x9E3779B97F4A7C15u >> shift_;
  while (slots_[at].generation == generation_ && slots_[at].key != key) at = (at + 1) & mask;
  return slots_[at];
}

std::uint32_t Groups::add(std::uint64_t key) {
  Slot& slot = find(key);
  if (slot.generation == generation_) {
    ++counts_[slot.group];
    return slot.group;
  }
  const auto group = static_cast<std::uint32_t>(keys_.size());
  slot = {key, generation_, group};
  keys_.push_back(key);
  counts_.push_back(1);
  if (2 * keys_.size() > size_of_table()) grow();
  return group;
}

void Copies::add(std::string_view piece) {
  ++pieces_;
  if (groups_->count(groups_->add(XXH3_64bits(piece.data(), piece.size()))) == 1) return;
  ++copies_;
  characters_ += static_cast<std::uint64_t>(count_characters(piece));
}

} // namespace conclave::datakit
