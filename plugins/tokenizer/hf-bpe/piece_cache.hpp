// PieceCache: ids of pieces met before; and a pool of them, so that threads do not wait for each other.
//
// What this is: two small tables of fixed size, 6 MiB together, for pieces of up to 15 and up to 31 bytes. A slot holds key and
// ids in one or half a cache line; a new piece takes the place of the older of two. What this is not: a promise to remember.
// Threading: one thread at a time; encode() borrows one from the pool for the length of a call.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "merge_table.hpp"

namespace conclave::hf_bpe {

/// A piece of at most `bytes` - 1 bytes, padded with zeros; the last byte is its length, so that the padding is no part of it.
template <std::size_t bytes>
struct PieceKey {
  static constexpr std::size_t longest = bytes - 1;
  std::array<std::uint64_t, bytes / 8> words{};

  PieceKey() = default;
  /// `readable`: the bytes from piece.data() on that may be read, piece.size() at least. Precondition: piece.size() <= longest.
  PieceKey(std::string_view piece, std::size_t readable) noexcept {
    if (readable >= bytes) { // nearly always; a copy of unknown length costs a call
      std::memcpy(words.data(), piece.data(), bytes);
      for (std::size_t i = 0; i < words.size(); ++i)
        words[i] &= first_bytes(piece.size() > 8 * i ? piece.size() - 8 * i : 0);
    } else {
      std::memcpy(words.data(), piece.data(), piece.size());
    }
    words.back() |= std::uint64_t{piece.size()} << 56;
  }
  bool operator==(const PieceKey& other) const noexcept {
    std::uint64_t differences = 0;
    for (std::size_t i = 0; i < words.size(); ++i) differences |= words[i] ^ other.words[i];
    return differences == 0;
  }
  [[nodiscard]] std::uint64_t hash() const noexcept {
    std::uint64_t hash = 0;
    for (const std::uint64_t word : words) {
      hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
      hash ^= hash >> 32;
    }
    return hash;
  }

 private:
  static std::uint64_t first_bytes(std::size_t count) noexcept { // of a word, as x86-64 has them in memory
    return count >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << 8 * count) - 1;
  }
};

/// Two slots for each value of the hash.
template <std::size_t key_bytes, std::size_t most_ids, std::size_t slots>
class PieceTable {
 public:
  using Key = PieceKey<key_bytes>;
  struct Slot {
    Key key; ///< of length 0 where the slot is free: no piece is empty
    std::array<std::int32_t, most_ids> ids;
    std::uint32_t count = 0;
  };

  PieceTable() : slots_(slots) {}
  [[nodiscard]] const Slot* find(const Key& key, std::uint64_t hash) const noexcept {
    const Slot* slot = &slots_[first(hash)];
    if (slot[0].key == key) return slot;
    return slot[1].key == key ? slot + 1 : nullptr;
  }
  /// Precondition: find(key, hash) is null. More ids than a slot holds are not kept.
  void insert(const Key& key, std::uint64_t hash, const std::int32_t* ids, std::size_t count) noexcept {
    if (count > most_ids) return;
    Slot* slot = &slots_[first(hash)];
    slot[1] = slot[0];
    slot[0].key = key;
    std::memcpy(slot[0].ids.data(), ids, count * sizeof *ids);
    slot[0].count = static_cast<std::uint32_t>(count);
  }

 private:
  static std::size_t first(std::uint64_t hash) noexcept { return (hash & (slots / 2 - 1)) * 2; }
  std::vector<Slot> slots_;
};

struct PieceCache {
  PieceTable<16, 3, std::size_t{1} << 17> short_pieces;
  PieceTable<32, 7, std::size_t{1} << 15> long_pieces;
  MergeTable::Scratch scratch;
};

class PieceCachePool {
 public:
  /// A cache for the caller alone; it comes back by itself.
  class Lease {
   public:
    Lease(PieceCachePool& pool, std::unique_ptr<PieceCache> cache) : pool_(&pool), cache_(std::move(cache)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_->give_back(std::move(cache_)); }
    PieceCache& operator*() const noexcept { return *cache_; }

   private:
    PieceCachePool* pool_;
    std::unique_ptr<PieceCache> cache_;
  };

  Lease borrow() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return {*this, std::make_unique<PieceCache>()};
    auto cache = std::move(free_.back());
    free_.pop_back();
    return {*this, std::move(cache)};
  }
  /// Forgets everything: the model has changed. No lease may be out.
  void clear() {
    const std::lock_guard lock(mutex_);
    free_.clear();
  }

 private:
  void give_back(std::unique_ptr<PieceCache> cache) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(cache));
  }
  std::mutex mutex_;
  std::vector<std::unique_ptr<PieceCache>> free_;
};

} // namespace conclave::hf_bpe
