// MergeTable: the merges of a BPE model, and the ids of a piece of text by them.
//
// Threading: immutable once built; encode() may run on many threads, each with its own Scratch.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::hf_bpe {

struct Merge {
  std::int32_t left, right, result; ///< ids
};

class MergeTable {
 public:
  MergeTable() = default;
  /// An earlier merge goes before a later one; of two of the same pair the later counts. `bytes`: the id of each byte.
  MergeTable(const std::array<std::int32_t, 256>& bytes, const std::vector<Merge>& merges);

  struct Scratch;
  /// The ids of a piece: of the merges that fit anywhere, the first in the list is done at the leftmost place, until none
  /// fits. Quadratic for short pieces and n log n for long ones, whichever is faster. `ids` has room for piece.size() ids;
  /// returns how many there are.
  std::size_t encode(std::string_view piece, std::int32_t* ids, Scratch& scratch) const;

  /// Memory of encode(), kept between calls.
  struct Scratch {
    struct Candidate {
      std::uint32_t rank, at;
      bool operator>(const Candidate& other) const noexcept {
        return rank != other.rank ? rank > other.rank : at > other.at;
      }
    };
    std::vector<std::uint32_t> next, previous;
    std::vector<Candidate> heap;
  };

 private:
  static constexpr std::uint32_t no_rank = 0xFFFFFFFF;
  struct Found {
    std::uint32_t rank = no_rank;
    std::int32_t result = 0;
  };
  struct Slot {
    std::uint64_t pair = ~std::uint64_t{0}; ///< free
    Found found;
  };
  static std::uint64_t key(std::int32_t left, std::int32_t right) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  [[nodiscard]] std::size_t place(std::uint64_t pair) const noexcept {
    return static_cast<std::size_t>(pair * 0x9E3779B97F4A7C15ull >> shift_);
  }
  [[nodiscard]] Found find(std::int32_t left, std::int32_t right) const noexcept;
  std::size_t encode_short(std::int32_t* ids, std::size_t count) const;
  std::size_t encode_long(std::int32_t* ids, std::size_t count, Scratch& scratch) const;

  std::array<std::int32_t, 256> bytes_{};
  std::vector<Slot> slots_ = std::vector<Slot>(2); ///< open addressing, a power of two, half full at most
  int shift_ = 63;
};

} // namespace conclave::hf_bpe
