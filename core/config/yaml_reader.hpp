// Reads one YAML file or text into an immutable located Value, strictly and within limits.
//
// Accepted: one document of maps, lists and scalars with text keys, the list tags `!append` and `!prepend`, UTF-8.
// Refused, each with file:line:col: duplicate keys, anchors and aliases, merge keys, other tags, further documents, tabs
// as indentation, control characters, bytes that are not UTF-8, and anything beyond the limits. Scalars stay raw text:
// what `010` means is for the option to say.
//
// What this is not: extends, vars or `--set` (compose.hpp); it knows no key of an experiment.
//
// Threading: reentrant.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "conclave/value.hpp"

namespace conclave {

struct YamlLimits {
  std::size_t bytes = std::size_t{1} << 20;         ///< of the file
  std::size_t scalar_bytes = std::size_t{64} << 10; ///< of one scalar or key
  std::size_t nodes = 100'000;
  int depth = 64;
  std::size_t errors = 50; ///< reading stops after so many
};

/// `!append [..]` reads as a map with this one key; composition resolves it.
inline constexpr std::string_view append_tag = "!append";
inline constexpr std::string_view prepend_tag = "!prepend";

/// The tree, or nothing when the text is no YAML at all; other problems leave a tree without the offending part.
/// `file` is the name in locations.
std::optional<Value> parse_yaml(std::string_view text, const std::string& file, Diagnostics& diagnostics,
                                const YamlLimits& limits = {});

/// The same for a file on disk.
std::optional<Value> read_yaml(const std::string& path, Diagnostics& diagnostics, const YamlLimits& limits = {});

} // namespace conclave
