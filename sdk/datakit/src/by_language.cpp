// Languages as numbers: see by_language.hpp.

#include "conclave/datakit/by_language.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace conclave::datakit {

std::uint64_t language_key(std::string_view tag) {
  std::string primary(tag.substr(0, tag.find_first_of("-_")));
  for (char& c : primary)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return primary.empty() ? 0 : XXH3_64bits(primary.data(), primary.size());
}

} // namespace conclave::datakit
