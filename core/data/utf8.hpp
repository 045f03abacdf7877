// UTF-8: what is and what is not, and the repair of what is not.
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace conclave::data {

/// Length of the longest valid UTF-8 prefix (Unicode 15, table 3-7: no surrogates, no overlong forms).
std::size_t valid_utf8_prefix(std::string_view text) noexcept;

/// `text` with each maximal ill-formed subpart replaced by U+FFFD (Unicode 15, section 3.9, as browsers do).
std::string repair_utf8(std::string_view text);

/// The longest prefix of valid UTF-8 with at most `bytes` bytes that does not cut a code point.
std::string_view utf8_prefix(std::string_view text, std::size_t bytes) noexcept;

} // namespace conclave::data
