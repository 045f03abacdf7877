// The parts of the page, built into the program (page_assets.cpp.in).
#pragma once

#include <string_view>

namespace conclave::compare {

struct PageAssets {
  std::string_view html, style, script;
  std::string_view library, library_style; ///< uPlot; empty in a build without it
};
PageAssets page_assets();

} // namespace conclave::compare
