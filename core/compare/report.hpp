// A comparison as a terminal text, JSON, CSV, and one HTML page.
//
// Threading: functions without state.
#pragma once

#include <string>

#include "compare/comparison.hpp"

namespace conclave::compare {

std::string to_text(const Comparison& comparison);

/// Schema 1, one object: runs, groups, verdicts, differences, left_out. Each run with its curve of the training nll, thinned to
/// at most 256 trailing means, by step, tokens, hours and FLOPs. What is not known is null.
std::string to_json(const Comparison& comparison);

/// A row a run, with a header: RFC 4180. What is not known is empty.
std::string to_csv(const Comparison& comparison);

/// Whether this build has the plotting library that the page needs.
bool has_page();

/// The page: everything in one file, without any address of the network. Precondition: has_page().
std::string to_html(const Comparison& comparison);

} // namespace conclave::compare
