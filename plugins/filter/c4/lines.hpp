// Which lines of a text C4's rules keep, and what is counted on the way.
//
// Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (2020), section 2.2, and
// the code that goes with it. A line is what stands between line ends, without white space at its ends; the rules apply in
// this order, and lines that fall to one are not asked the next:
//   a word longer than max_word_length; citations are cut out of the line; its last character is no end mark, or it ends
//   with `...`; fewer than min_words_per_line words; (lorem ipsum); `javascript` in it; (a curly bracket); a policy phrase
// A word is a run without white space; an ideograph or kana counts as one.
//
// Threading: const.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conclave/datakit/words.hpp"

namespace conclave::c4 {

/// By language; the list of "" is for all others.
using EndMarks = std::map<std::string, std::vector<std::string>>;

struct LineRules {
  EndMarks end_marks = {{"", {".", "?", "!", "\"", "'"}}, {"zh", {"。", "？", "！", "…", "”", "』", "」", "."}}};
  std::int64_t min_words = 3, max_word_length = 1000;
  bool citations = true, javascript = true, policies = true;
};

struct LineCounts {
  std::int64_t lines = 0, kept = 0;
  std::int64_t lorem_ipsum = 0, curly_brackets = 0; ///< lines with it that came so far
};

class LineFilter {
 public:
  explicit LineFilter(const LineRules& rules);

  /// Calls visit(std::string_view line) for each line kept; the view is valid during the call.
  template <class Visit>
  LineCounts operator()(std::string_view text, std::string_view language, Visit&& visit) const {
    const std::vector<std::string>& marks = marks_of(language);
    LineCounts counts;
    std::string line, lower;
    datakit::for_each_line(text, [&](std::string_view whole) {
      ++counts.lines;
      if (!keeps(whole, marks, line, lower, counts)) return;
      ++counts.kept;
      visit(std::string_view(line));
    });
    return counts;
  }

 private:
  [[nodiscard]] const std::vector<std::string>& marks_of(std::string_view language) const;
  bool keeps(std::string_view whole, const std::vector<std::string>& marks, std::string& line, std::string& lower,
             LineCounts& counts) const;

  LineRules rules_;
  std::unordered_map<std::uint64_t, std::vector<std::string>> marks_;
};

} // namespace conclave::c4
