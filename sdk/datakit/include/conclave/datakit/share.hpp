// share(): a part of a count, as filters write it into their columns.
//
// Threading: a pure function.
#pragma once

#include <concepts>

namespace conclave::datakit {

/// part / whole; 0 where there is nothing to have a part of.
template <std::integral Part, std::integral Whole>
double share(Part part, Whole whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

} // namespace conclave::datakit
