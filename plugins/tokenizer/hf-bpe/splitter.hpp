// Splitter: cuts text into the pieces that merges never reach across, as a tokenizer.json's pre-tokeniser says.
//
// What this is: hand-written matchers of the regular expressions that the families use, each told by its exact text, and
// their sequence: a later one works inside the pieces of an earlier one, whose ends are the ends of text to it. What this
// is not: a regular expression engine. Another pattern is refused by name: engines differ in Unicode versions and in
// corners of \s and (?i), so that a general path could not promise equal ids.
//
// Threading: immutable.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "unicode_classes.hpp"

namespace conclave::hf_bpe {

/// The end of the first piece of [begin, end): a match of the pattern, or what lies before the next match. Never `begin`.
/// Precondition: begin < end.
using SplitStep = const char* (*)(const UnicodeClasses& classes, const char* begin, const char* end);

/// A pattern that is known, or null in `step`.
struct KnownPattern {
  const char* name;
  std::string_view regex;
  SplitStep step;
  bool covers; ///< every character of any text is in a match, so that it is all one what becomes of the rest
};
/// All of them, with the names that training uses.
[[nodiscard]] std::span<const KnownPattern> known_patterns() noexcept;
/// The one with this text, or null.
[[nodiscard]] const KnownPattern* find_pattern(std::string_view regex) noexcept;

/// GPT-2's pattern, which the pre-tokeniser ByteLevel brings.
[[nodiscard]] SplitStep gpt2_step() noexcept;
/// The pre-tokeniser Digits: runs of digits, or each alone.
[[nodiscard]] SplitStep digits_step(bool individual) noexcept;

class Splitter {
 public:
  std::vector<SplitStep> steps; ///< none: the text is one piece

  /// Calls visit(begin, end) for each piece in order; none for an empty text.
  template <class Visit>
  void for_each(const char* begin, const char* end, Visit&& visit) const {
    if (begin < end) descend(UnicodeClasses::get(), steps.data(), steps.data() + steps.size(), begin, end, visit);
  }

 private:
  template <class Visit>
  static void descend(const UnicodeClasses& classes, const SplitStep* step, const SplitStep* last, const char* begin,
                      const char* end, Visit& visit) {
    if (step == last) {
      visit(begin, end);
      return;
    }
    while (begin < end) {
      const char* next = (*step)(classes, begin, end);
      if (step + 1 == last)
        visit(begin, next);
      else
        descend(classes, step + 1, last, begin, next, visit);
      begin = next;
    }
  }
};

} // namespace conclave::hf_bpe
