// How deep the elements of an HTML page nest, without parsing it.
//
// What this is: a guard. Gumbo frees its tree by recursion and looks through all open elements for many tags, so a page of
// a hundred thousand unclosed elements would end the process or keep it busy for hours. What this is not: exact; tags whose
// end may be left out are not counted, and a tag inside a script counts.
#pragma once

#include <string_view>

namespace conclave::html {

/// The most elements open at once among those that must be closed.
int nesting_depth(std::string_view page);

} // namespace conclave::html
