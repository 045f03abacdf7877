// Keys under which every two prints within a Hamming distance meet.
//
// Manku, Jain, Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007: cut 64 bits into n blocks. Two prints that
// differ in at most k bits differ in at most k blocks, so they agree in some choice of n - k blocks (pigeonhole). Each choice
// is a table; its key is the number of the table with the bits of its blocks. n = k + 1 gives k + 1 short keys; a larger n
// gives more and longer ones, which keeps groups small in a big corpus.
//
// Threading: immutable after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "conclave/filter.hpp"

namespace conclave::simhash {

class BlockKeys {
 public:
  /// 0 <= distance < blocks <= 16.
  BlockKeys(int distance, int blocks);
  /// Appends one key for each table, with the print as its value. Prints within the distance share at least one. Prints farther apart may share some:
  /// keys only bring together.
  void append(std::uint64_t print, std::vector<DedupKey>& out) const;
  [[nodiscard]] std::size_t tables() const noexcept { return masks_.size(); }

 private:
  std::vector<std::uint64_t> masks_; ///< the bits of each table's blocks
};

/// n choose k, for n <= 16.
std::int64_t choose(int n, int k);

} // namespace conclave::simhash
