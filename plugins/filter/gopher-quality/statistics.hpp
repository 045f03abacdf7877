// What Gopher's quality rules look at in one text: counts of words, symbols and lines.
//
// Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021), appendix A.1.1. Where the
// paper leaves room this is what datatrove does, so that published thresholds mean the same here:
//   word    one of datakit::WordCutter's. Marks are none where words are counted and measured; shares are of all
//   line    what stands between line ends, empty or not
//
// Threading: one thread at a time per object; results depend on the text, its language and the lists alone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conclave/datakit/words.hpp"

namespace conclave::quality {

struct Statistics {
  std::int64_t words = 0;       ///< without marks
  double mean_word_length = 0;  ///< characters, of those
  double hashes_per_word = 0;   ///< `#`, for each word or mark
  double ellipses_per_word = 0; ///< `...` or the single character
  double bullet_lines = 0;      ///< share of lines that begin with a bullet
  double ellipsis_lines = 0;    ///< share of lines that end with an ellipsis
  double words_with_letter = 0; ///< share of words and marks
  /// Different stop words of the text's language; -1 where no list is given for it.
  std::int64_t stop_words = 0;
};

/// By language; the list of "" is for texts of unknown language.
using StopWords = std::map<std::string, std::vector<std::string>>;

class StatisticsMeter {
 public:
  explicit StatisticsMeter(const StopWords& stop_words);
  /// `language`: a BCP 47 tag, or empty.
  Statistics operator()(std::string_view text, std::string_view language);

 private:
  /// Stop words of one language, each with its number.
  struct List {
    std::unordered_map<std::string_view, std::size_t> numbers;
    std::size_t longest = 0;
    std::array<bool, 256> first_bytes{}; ///< to pass over most words at once
  };
  std::int64_t count_stop_words(std::span<const datakit::Word> words, std::string_view language);

  datakit::WordCutter cut_;
  StopWords words_; ///< the lists point into it
  std::unordered_map<std::uint64_t, List> lists_;
  std::vector<char> seen_;
};

} // namespace conclave::quality
