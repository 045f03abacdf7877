// The report as a page: the funnel of each domain, how long documents are, and samples of what each rule dropped.
//
// Threading: main thread.
#pragma once

#include <string>

#include "data/prepare.hpp"
#include "page/page.hpp"

namespace conclave::data {

/// The page's own files.
page::Parts page_parts();

/// HTML that needs no other file. Of a domain of many texts the lengths in characters are those of an even choice of 100,000.
/// Opens the stages, and makes those that are no longer there. Precondition: page::has_library().
Result<std::string> report_page(const PrepareRequest& request, const TokenStore& store, const PrepareReport& report,
                                const std::string& name);

} // namespace conclave::data
