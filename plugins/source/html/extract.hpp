// extract(): the main text of one HTML page.
//
// What this is: a walk over Gumbo's HTML5 tree that keeps what a reader reads and leaves out what a site repeats. What this
// is not: a learned or density-based extractor; pages without semantic mark-up keep their menus, and a filter must judge.
//
// Threading: pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::html {

struct ExtractRule {
  bool sections = false;      ///< begin a new text at each h1 and h2
  std::size_t min_text = 200; ///< bytes: shorter sections join the next one; a shorter page gives nothing
};

/// The texts of a page in order: block elements end lines, paragraphs and headings stand between blank lines, list items
/// begin with "- ", table cells are separated by tabs, <pre> keeps its spaces, entities are decoded. Left out: script,
/// style, forms, pictures, navigation, page headers and footers, and what is hidden. A <main> element (or role) is
/// preferred to the whole body when it holds at least min_text bytes. Bytes that are no UTF-8 become U+FFFD.
/// nullopt: the page nests too deep to be parsed safely.
std::optional<std::vector<std::string>> extract(std::string_view page, const ExtractRule& rule);

/// True when the page says in its first kilobyte that it is written in Latin-1 or Windows-1252.
bool declares_windows_1252(std::string_view page);

} // namespace conclave::html
