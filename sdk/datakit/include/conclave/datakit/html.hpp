// The main text of HTML pages.
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

namespace conclave::datakit::html {

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

/// Turns a page into UTF-8 in place: by its byte order mark, else by `http_charset` (what the server said; may be empty),
/// else by what its first kilobyte says. A page that is valid UTF-8 already stays, whatever it says; so does one that says
/// nothing or names no charset that is known.
void to_utf8(std::string& page, std::string_view http_charset);

/// The charset that the page names in its first kilobyte, in lower case; empty: none.
std::string declared_charset(std::string_view page);

/// The most elements open at once among those that must be closed, without parsing. A guard: Gumbo frees its tree by
/// recursion and looks through all open elements for many tags, so a page of a hundred thousand unclosed elements would end
/// the process or keep it busy for hours. Not exact: tags whose end may be left out are not counted, and a tag inside a
/// script counts.
int nesting_depth(std::string_view page);

} // namespace conclave::datakit::html
