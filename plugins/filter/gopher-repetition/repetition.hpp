// Repetition within one text, as table A1 of Gopher's paper measures it.
//
// Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021), appendix A.1.1. Where the
// paper leaves room this is what datatrove does, so that published thresholds mean the same here:
//   line        what stands between runs of line ends, compared byte by byte; one at either end of the text leaves an empty one
//   paragraph   what stands between empty lines
//   repeated    a second or later copy; the first one is not held against the text
//   words       datakit::WordCutter's, marks among them
//   top n-gram  the most frequent run of n words (the first of those), its words with a space between them, times its count
//   repeated n-grams   read from left to right: a run that came before counts with its words and is passed over whole
// Shares are of all characters (code points) of the text, white space included. A top share can exceed 1 where copies
// overlap.
//
// Threading: one thread at a time per object; results depend on the text alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "conclave/datakit/groups.hpp"
#include "conclave/datakit/words.hpp"

namespace conclave::repetition {

inline constexpr std::size_t top_ngram_sizes[] = {2, 3, 4};
inline constexpr std::size_t repeated_ngram_sizes[] = {5, 6, 7, 8, 9, 10};

struct Repetition {
  double lines = 0, line_characters = 0; ///< of lines; of characters
  double paragraphs = 0, paragraph_characters = 0;
  std::array<double, std::size(top_ngram_sizes)> top{};
  std::array<double, std::size(repeated_ngram_sizes)> repeated{};
};

class RepetitionMeter {
 public:
  Repetition operator()(std::string_view text);

 private:
  /// A run of words that comes more than once begins at `position`; runs with equal words have equal groups.
  struct Place {
    std::uint32_t position, group;
  };
  void find_repeated_words(std::span<const datakit::Word> words);
  void lengthen();
  void keep_repeated();
  [[nodiscard]] std::uint64_t characters(std::size_t position, std::size_t n) const {
    return ends_[position + n] - ends_[position];
  }
  [[nodiscard]] std::uint64_t top(std::size_t n) const;
  [[nodiscard]] std::uint64_t repeated(std::size_t n);

  datakit::WordCutter cut_;
  datakit::Groups groups_;
  std::vector<std::uint64_t> ends_; ///< characters of all words before each
  std::vector<Place> places_;       ///< ascending
  std::vector<char> seen_;          ///< by group
};

} // namespace conclave::repetition
