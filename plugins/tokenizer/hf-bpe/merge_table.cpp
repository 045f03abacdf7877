// MergeTable: see merge_table.hpp.

#include "merge_table.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

namespace conclave::hf_bpe {
namespace {

constexpr std::size_t longest_short = 48; // bytes; measured: where the heap begins to win

} // namespace

MergeTable::MergeTable(const std::array<std::int32_t, 256>& bytes, const std::vector<Merge>& merges) : bytes_(bytes) {
  slots_.assign(std::bit_ceil(2 * merges.size() + 2), Slot{});
  shift_ = 64 - std::countr_zero(slots_.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::uint64_t pair = key(merges[rank].left, merges[rank].right);
    std::size_t at = place(pair);
    while (slots_[at].pair != pair && slots_[at].found.rank != no_rank) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {pair, {static_cast<std::uint32_t>(rank), merges[rank].result}};
  }
}

MergeTable::Found MergeTable::find(std::int32_t left, std::int32_t right) const noexcept {
  const std::uint64_t pair = key(left, right);
  for (std::size_t at = place(pair);; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].pair == pair || slots_[at].found.rank == no_rank) return slots_[at].found;
}

std::size_t MergeTable::encode(std::string_view piece, std::int32_t* ids, Scratch& scratch) const {
  for (std::size_t i = 0; i < piece.size(); ++i) ids[i] = bytes_[static_cast<unsigned char>(piece[i])];
  return piece.size() <= longest_short ? encode_short(ids, piece.size()) : encode_long(ids, piece.size(), scratch);
}

std::size_t MergeTable::encode_short(std::int32_t* ids, std::size_t count) const {
  std::array<Found, longest_short> pairs; // pairs[i]: of ids[i] and ids[i + 1]
  for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = find(ids[i], ids[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].rank == no_rank) break;
    ids[best] = pairs[best].result;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    std::copy(pairs.begin() + best + 1, pairs.begin() + count - 1, pairs.begin() + best);
    --count;
    if (best > 0) pairs[best - 1] = find(ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = find(ids[best], ids[best + 1]);
  }
  return count;
}

std::size_t MergeTable::encode_long(std::int32_t* ids, std::size_t count, Scratch& scratch) const {
  // A list of symbols through indices; a candidate whose pair has changed since has another rank now, and is passed over.
  constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  auto &next = scratch.next, &previous = scratch.previous;
  auto& heap = scratch.heap;
  next.resize(count);
  previous.resize(count);
  heap.clear();
  const auto offer = [&](std::uint32_t at) {
    const Found found = find(ids[at], ids[next[at]]);
    if (found.rank == no_rank) return;
    heap.push_back({found.rank, at});
    std::ranges::push_heap(heap, std::greater<>{});
  };
  for (std::size_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? static_cast<std::uint32_t>(i + 1) : none;
    previous[i] = i > 0 ? static_cast<std::uint32_t>(i - 1) : none;
  }
  for (std::size_t i = 0; i + 1 < count; ++i) offer(static_cast<std::uint32_t>(i));
  constexpr std::int32_t merged_away = -1;
  while (!heap.empty()) {
    std::ranges::pop_heap(heap, std::greater<>{});
    const auto [rank, at] = heap.back();
    heap.pop_back();
    if (ids[at] == merged_away || next[at] == none) continue;
    const std::uint32_t right = next[at];
    const Found found = find(ids[at], ids[right]);
    if (found.rank != rank) continue;
    ids[at] = found.result;
    ids[right] = merged_away;
    next[at] = next[right];
    if (next[at] != none) {
      previous[next[at]] = at;
      offer(at);
    }
    if (previous[at] != none) offer(previous[at]);
  }
  return static_cast<std::size_t>(std::remove(ids, ids + count, merged_away) - ids);
}

} // namespace conclave::hf_bpe
