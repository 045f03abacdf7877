// Header fields as WARC, HTTP and mail write them: `Name: value` lines after a first line.
//
// Threading: pure.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace conclave::warc {

inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// Names do not distinguish upper and lower case.
inline bool is_field(std::string_view name, std::string_view wanted) {
  return std::ranges::equal(name, wanted, {}, ascii_lower, ascii_lower);
}

inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  return begin == std::string_view::npos ? std::string_view{}
                                         : text.substr(begin, text.find_last_not_of(blank) + 1 - begin);
}

/// Calls visit(name, value) for each field of `header` after its first line. A line that begins with a blank continues the
/// one before it, and is left out: no field read here is ever folded.
template <class Visit>
void for_each_field(std::string_view header, Visit&& visit) {
  for (std::size_t line = header.find('\n'); line != std::string_view::npos;) {
    const std::size_t begin = line + 1;
    line = header.find('\n', begin);
    const std::string_view text = header.substr(begin, line == std::string_view::npos ? line : line - begin);
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos || text.starts_with(' ') || text.starts_with('\t')) continue;
    visit(trimmed(text.substr(0, colon)), trimmed(text.substr(colon + 1)));
  }
}

} // namespace conclave::warc
