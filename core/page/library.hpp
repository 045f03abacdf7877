// What all pages share, built into the program (library.cpp.in).
#pragma once

#include <string_view>

namespace conclave::page {

struct Library {
  std::string_view script, style; ///< uPlot; empty in a build without it
  std::string_view base_style;    ///< base.css
};
Library library();

} // namespace conclave::page
