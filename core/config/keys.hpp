// Dotted keys of an experiment, as messages, `--set` and `config explain` write them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace conclave {

/// `prefix.name`, or `name` at the root.
inline std::string join_key(std::string_view prefix, std::string_view name) {
  std::string key(prefix);
  if (!key.empty()) key += '.';
  key += name;
  return key;
}

/// True for a name that is safe in a dotted key and in a file name: letters, digits, `-`, `_` and, for a run's name, dots;
/// not a number alone, which would be an index.
inline bool is_plain_name(std::string_view name, bool dots = false) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  constexpr std::size_t longest = 100;
  return !name.empty() && name.size() <= longest && name.front() != '-' && name.front() != '.' &&
         std::any_of(name.begin(), name.end(), letter) && std::all_of(name.begin(), name.end(), [&](char c) {
           return letter(c) || digit(c) || c == '-' || (dots && c == '.');
         });
}

} // namespace conclave
