// Files of a source: patterns to a stable list of files with ids and digests.
//
// What this is: the `paths`, `root` and `extensions` options that sources share, and the listing behind them. What this is
// not: reading (byte_stream.hpp) or grouping into shards (shards.hpp).
//
// Threading: free functions without state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/options.hpp"
#include "conclave/status.hpp"

namespace conclave::datakit {

/// Which files. Each of `paths` is a file, a folder (everything below it) or a pattern: `*`, `?` and `[a-z]` within one
/// part of a path, `**` for any number of folders. Names that begin with a dot match only when the pattern says so, and
/// `**` does not enter linked folders.
struct FileSelection {
  std::vector<Path> paths;
  Path root;                           ///< ids are relative to it; empty: the deepest folder that all patterns share
  std::vector<std::string> extensions; ///< e.g. `.txt`; empty: every file. Does not apply to files named in full
};

struct FileEntry {
  std::string path;
  std::string id;     ///< relative to the root, with `/`; the path itself for a file outside the root
  std::string digest; ///< see list_files()
  std::int64_t bytes = 0;
};

/// The sum of sizes up to which digests are hashes of the content.
inline constexpr std::int64_t content_digest_limit = std::int64_t{4} << 30;

/// All selected files, each once, sorted by id. A digest is a hash of the content as long as all files together stay
/// below content_digest_limit, so that touching or copying a file changes nothing; above it, size and time of change.
/// A pattern without a file is an error that names it; so is a folder that cannot be read.
Result<std::vector<FileEntry>> list_files(const FileSelection& selection);

/// True when `name` (one part of a path) matches a pattern with `*`, `?` and `[...]`.
bool matches_part(const std::string& pattern, const std::string& name);

/// 64 bits of hash as 16 hex digits, for digests. Not for security.
std::string hash_hex(std::string_view bytes);

/// Adds the options `paths` (required), `root` and `extensions` for a struct O that derives from FileSelection.
/// `extensions` keeps the default of the struct.
template <class O>
OptionTableBuilder<O>& add_file_options(OptionTableBuilder<O>& builder) {
  // The members are the base's; opt() wants pointers to members of O itself.
  return builder.opt("paths", static_cast<std::vector<Path> O::*>(&O::paths))
      .required()
      .doc("Files, folders or patterns (`*`, `?`, `[a-z]`, `**` for any number of folders).")
      .opt("root", static_cast<Path O::*>(&O::root))
      .affects(Affects::naming)
      .doc("Ids of documents are paths relative to this folder; by default the deepest one that all paths share.")
      .opt("extensions", static_cast<std::vector<std::string> O::*>(&O::extensions))
      .doc(
          "Only files whose names end so, e.g. [.txt, .md]; an empty list takes all. A file named in full is always "
          "taken.");
}

} // namespace conclave::datakit
