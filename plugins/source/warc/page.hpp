// From a WARC record to a document's text.
//
// Threading: pure.
#pragma once

#include <cstddef>
#include <string>

#include "records.hpp"

namespace conclave::warc {

struct PageRule {
  std::size_t min_text; ///< bytes: an HTML page with less gives nothing
  std::size_t max_document;
};

enum class PageKind {
  text,     ///< there is a text
  not_text, ///< a picture, a redirect, a request: nothing is wrong with it
  unusable, ///< a page that cannot be decoded, nests too deep or has less text than the rule asks for
};

/// The text of a record: a `conversion` as it stands; of a `response` with status 200, and of a `resource`, the main text of
/// an HTML page and any text/plain, as UTF-8.
PageKind page_text(const Record& record, const PageRule& rule, std::string& text);

} // namespace conclave::warc
