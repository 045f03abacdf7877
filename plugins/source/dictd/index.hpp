// The index of a dictd database: where each article stands in the body.
//
// The format is that of dictd(8) and dictfmt(1): one line an entry, `headword TAB offset TAB length`, numbers in base 64 with
// the digits A-Z a-z 0-9 + /, most significant first. A fourth field may hold the headword as it is written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::dictd {

struct Entry {
  std::string headword;
  std::int64_t offset = 0, length = 0; ///< bytes in the uncompressed body
};

struct Index {
  std::vector<Entry>
      entries; ///< by offset, each article once under its first headword, without the database's own entries
  std::int64_t malformed = 0; ///< lines that could not be read
};

/// A number of the index; nullopt for no digits, other characters or more than 63 bits.
std::optional<std::int64_t> parse_base64(std::string_view digits);

Result<Index> read_index(const std::string& path);

} // namespace conclave::dictd
