// How deep a page nests: see conclave/datakit/html.hpp.

#include "conclave/datakit/html.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace conclave::datakit::html {
namespace {

// Void elements, and elements that another tag closes by itself. Sorted.
constexpr std::array<std::string_view, 37> uncounted = {
    "area",  "base",  "basefont", "bgsound",  "body",   "br",   "caption", "col", "colgroup", "dd",
    "dt",    "embed", "frame",    "head",     "hr",     "html", "image",   "img", "input",    "keygen",
    "li",    "link",  "meta",     "optgroup", "option", "p",    "param",   "rp",  "rt",       "source",
    "tbody", "td",    "tfoot",    "th",       "thead",  "tr",   "track"};

bool is_tag_letter(char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

} // namespace

int nesting_depth(std::string_view page) {
  int depth = 0, deepest = 0;
  std::string name;
  for (std::size_t i = page.find('<'); i != std::string_view::npos; i = page.find('<', i)) {
    ++i;
    const bool closing = i < page.size() && page[i] == '/';
    if (closing) ++i;
    if (i >= page.size() || !is_tag_letter(page[i])) continue;
    name.clear();
    for (; i < page.size() && (is_tag_letter(page[i]) || (page[i] >= '0' && page[i] <= '9')); ++i)
      name.push_back(static_cast<char>(page[i] | 0x20)); // digits have that bit set already
    if (std::ranges::binary_search(uncounted, std::string_view(name)) || name == "wbr") continue;
    if (closing) {
      depth = std::max(depth - 1, 0);
    } else {
      deepest = std::max(deepest, ++depth);
    }
  }
  return deepest;
}

} // namespace conclave::datakit::html
