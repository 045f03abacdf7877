// Lines by C4's rules: see lines.hpp.

#include "lines.hpp"

#include <algorithm>

#include "conclave/datakit/by_language.hpp"
#include "conclave/datakit/utf8.hpp"

namespace conclave::c4 {
namespace {

constexpr std::string_view policies[] = {"terms of use", "privacy policy", "cookie policy",
                                         "uses cookies", "use of cookies", "use cookies"};

bool contains(std::string_view text, std::string_view what) { return text.find(what) != std::string_view::npos; }

struct WordCounts {
  std::int64_t words = 0, longest = 0; ///< characters
};

WordCounts count_words(std::string_view line) {
  WordCounts counts;
  std::int64_t length = 0;
  bool unspaced = false;
  const auto close = [&] {
    counts.words += length > 0 && !unspaced;
    counts.longest = std::max(counts.longest, length);
    length = 0;
    unspaced = false;
  };
  for (std::size_t at = 0; at < line.size();) {
    const char32_t code = datakit::decode(line, at);
    if (datakit::is_space(code)) {
      close();
      continue;
    }
    ++length;
    if (!datakit::is_unspaced(code)) continue;
    ++counts.words;
    unspaced = true;
  }
  close();
  return counts;
}

/// `[12]`, `[]`, `[edit]` and `[citation needed]` leave.
void append_without_citations(std::string_view line, std::string& out) {
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t open = std::min(line.find('[', at), line.size());
    out += line.substr(at, open - at);
    if (open == line.size()) return;
    const std::size_t close = line.find(']', open);
    const std::string_view inside = close == std::string_view::npos ? "[" : line.substr(open + 1, close - open - 1);
    const bool number = std::ranges::all_of(inside, [](char c) { return c >= '0' && c <= '9'; });
    if (number || inside == "edit" || inside == "citation needed") {
      at = close + 1;
    } else {
      out += '[';
      at = open + 1;
    }
  }
}

} // namespace

LineFilter::LineFilter(const LineRules& rules) : rules_(rules) {
  for (const auto& [language, marks] : rules.end_marks) marks_[datakit::language_key(language)] = marks;
}

const std::vector<std::string>& LineFilter::marks_of(std::string_view language) const {
  static const std::vector<std::string> none;
  auto found = marks_.find(datakit::language_key(language));
  if (found == marks_.end()) found = marks_.find(0);
  return found == marks_.end() ? none : found->second;
}

bool LineFilter::keeps(std::string_view whole, const std::vector<std::string>& marks, std::string& line,
                       std::string& lower, LineCounts& counts) const {
  whole = datakit::trimmed(whole);
  const WordCounts words = count_words(whole);
  if (rules_.max_word_length > 0 && words.longest > rules_.max_word_length) return false;
  line.clear();
  if (rules_.citations) {
    append_without_citations(whole, line);
  } else {
    line = whole;
  }
  const auto ends = [&](const std::string& mark) { return line.ends_with(mark); };
  if (!marks.empty() && (!std::ranges::any_of(marks, ends) || line.ends_with("..."))) return false;
  if (words.words < rules_.min_words) return false;
  lower.assign(line);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  counts.lorem_ipsum += contains(lower, "lorem ipsum");
  if (rules_.javascript && contains(lower, "javascript")) return false;
  counts.curly_brackets += contains(line, "{");
  return !rules_.policies ||
         std::ranges::none_of(policies, [&](std::string_view phrase) { return contains(lower, phrase); });
}

} // namespace conclave::c4
