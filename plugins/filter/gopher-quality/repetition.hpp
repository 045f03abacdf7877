// Repetition within one text, as Gopher's table A1 measures it.
//
// Threading: one thread at a time per object; results depend on the text alone.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace conclave::quality {

/// Shares in [0, 1]. A repeated item is a second or later copy; the first one is not held against the text.
struct SegmentRepetition {
  double items = 0;      ///< repeated items over all items
  double characters = 0; ///< characters of repeated items over those of all
};

/// A map from 64-bit hashes to a count and one number more, emptied without giving back memory.
class HashCounter {
 public:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t count = 0; ///< 0: free
    std::uint32_t last = 0;  ///< free for the user
  };
  void reset(std::size_t expected);
  /// The slot of that key; new ones have count 0, and the caller must raise it.
  Slot& at(std::uint64_t key);

 private:
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
};

class RepetitionMeter {
 public:
  /// Segments (lines, paragraphs) given as hash and length in characters.
  struct Segment {
    std::uint64_t hash;
    std::int64_t characters;
  };
  SegmentRepetition segments(const std::vector<Segment>& segments);

  /// `words`: hash and length in characters of each word. Lengths of n-grams are sums of their words' lengths.
  /// The share of all characters that the most frequent n-gram with at least two copies takes, copies that overlap counted
  /// once; the highest share among equally frequent ones.
  double top_ngram(const std::vector<Segment>& words, std::size_t n);
  /// The share of characters within any second or later copy of an n-gram, each character once.
  double repeated_ngrams(const std::vector<Segment>& words, std::size_t n);

 private:
  HashCounter counter_;
  std::vector<std::uint64_t> ngrams_;
};

} // namespace conclave::quality
