// What Gopher's rules look at in one text: counts of words, symbols and lines, and repetition.
//
// Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021), appendix A.1.1: the
// quality filter of MassiveText and table A1 (repetition). Where the paper leaves room this says what is meant:
//   word       a run without white space. For the count of letters, a word counts when it holds a letter.
//   line       a line with something other than white space on it, without the white space at its ends
//   paragraph  lines between blank lines
//   n-gram     n consecutive words, in lower case and without punctuation (datakit::for_each_word)
//
// Threading: one thread at a time per object; results depend on the text alone.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "repetition.hpp"

namespace conclave::quality {

inline constexpr std::size_t top_ngram_sizes[] = {2, 3, 4};
inline constexpr std::size_t repeated_ngram_sizes[] = {5, 6, 7, 8, 9, 10};

struct Statistics {
  std::int64_t words = 0;
  double mean_word_length = 0;                        ///< characters
  double hashes_per_word = 0;                         ///< `#`
  double ellipses_per_word = 0;                       ///< `...` or the single character
  double bullet_lines = 0;                            ///< share of lines that begin with a bullet
  double ellipsis_lines = 0;                          ///< share of lines that end with an ellipsis
  double words_with_letter = 0;                       ///< share of words
  std::int64_t stop_words = 0;                        ///< different ones of: the, be, to, of, and, that, have, with
  double repeated_lines = 0, repeated_paragraphs = 0; ///< shares of lines, of paragraphs
  double repeated_line_characters = 0, repeated_paragraph_characters = 0; ///< shares of characters
  std::array<double, 3> top_ngrams{};                                     ///< shares of characters, by top_ngram_sizes
  std::array<double, 6> repeated_ngrams{}; ///< shares of characters, by repeated_ngram_sizes
};

class StatisticsMeter {
 public:
  Statistics operator()(std::string_view text);

 private:
  void scan_words(std::string_view text, Statistics& out);
  void scan_lines(std::string_view text, Statistics& out);

  RepetitionMeter repetition_;
  std::vector<RepetitionMeter::Segment> segments_, paragraphs_, words_;
  std::string scratch_;
};

} // namespace conclave::quality
