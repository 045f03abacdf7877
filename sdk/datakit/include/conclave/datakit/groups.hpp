// Groups: numbers equal keys alike, in the order in which they first come. Copies: pieces of a text that came before.
//
// Threading: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace conclave::datakit {

/// A hash table that is emptied in no time and keeps its memory: a slot counts only if it has the generation of its text.
class Groups {
 public:
  Groups();
  /// Forgets all keys.
  void reset();
  /// The number of `key`: 0 for the first one, then 1, 2, ... Counts it.
  std::uint32_t add(std::uint64_t key);
  /// How often the key with that number came.
  [[nodiscard]] std::uint32_t count(std::uint32_t group) const { return counts_[group]; }
  [[nodiscard]] std::size_t size() const noexcept { return counts_.size(); }

 private:
  struct Slot {
    std::uint64_t key;
    std::uint32_t generation, group;
  };
  void start(int bits);
  void grow();
  [[nodiscard]] std::size_t size_of_table() const noexcept { return std::size_t{1} << (64 - shift_); }
  Slot& find(std::uint64_t key);

  std::vector<Slot> slots_; ///< the first size_of_table() of them are in use: few words need few cache lines
  std::vector<std::uint64_t> keys_;
  std::vector<std::uint32_t> counts_; ///< both by group
  std::uint32_t generation_ = 0;
  int shift_ = 63;
};

/// Counts pieces of one text (lines, paragraphs) and those that are second or later copies.
class Copies {
 public:
  /// Uses `groups` until it is destroyed.
  explicit Copies(Groups& groups) : groups_(&groups) { groups.reset(); }
  void add(std::string_view piece);
  [[nodiscard]] std::uint64_t pieces() const noexcept { return pieces_; }
  [[nodiscard]] std::uint64_t copies() const noexcept { return copies_; }
  [[nodiscard]] std::uint64_t characters() const noexcept { return characters_; } ///< of the copies

 private:
  Groups* groups_;
  std::uint64_t pieces_ = 0, copies_ = 0, characters_ = 0;
};

} // namespace conclave::datakit
