// Programming languages by the names of files.
//
// Threading: pure.
#pragma once

#include <string_view>
#include <vector>

namespace conclave::code {

/// The language of a file of that name (without folders), e.g. `go`, `cpp`; empty: not known. By the whole name (Makefile),
/// else by what follows the last dot.
std::string_view language_of(std::string_view name);

/// All languages, sorted.
const std::vector<std::string_view>& known_languages();

} // namespace conclave::code
