// Languages: see language.hpp.

#include "language.hpp"

#include <unicode/uloc.h>

#include <algorithm>
#include <array>

#include "header_fields.hpp"

namespace conclave::warc {

std::string language_tag(std::string_view field) {
  const std::string name(trimmed(field.substr(0, field.find(','))));
  const auto letter = [](char c) { return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z'; };
  if (name.size() < 2 || name.size() > 3 || !std::ranges::all_of(name, letter)) return {};
  std::array<char, ULOC_LANG_CAPACITY> tag{};
  UErrorCode error = U_ZERO_ERROR;
  uloc_getLanguage(name.c_str(), tag.data(), static_cast<std::int32_t>(tag.size()), &error);
  if (U_FAILURE(error) || std::string_view(tag.data()) == "und") return {};
  return tag.data();
}

} // namespace conclave::warc
