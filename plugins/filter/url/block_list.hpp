// BlockList: hosts, URLs and words that are not wanted, and what of them a URL holds.
//
// A list is a text file with an entry a line; empty lines and lines that begin with `#` are none. A host also stands for all
// below it: `example.com` for `www.example.com`. A URL must be the same byte by byte. Words are compared in lower case: a
// word is a run of ASCII letters and digits in the URL; a part may stand anywhere among them, as if nothing were between.
//
// Threading: const once it is loaded.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::url {

struct BlockListFiles {
  std::vector<std::string> hosts, urls, words, soft_words, parts; ///< paths
};

struct Finding {
  bool host = false, url = false, word = false, part = false;
  int soft_words = 0; ///< different ones
};

class BlockList {
 public:
  static Result<BlockList> load(const BlockListFiles& files);
  [[nodiscard]] Finding find_in(std::string_view url) const;
  /// Changes when an entry does.
  [[nodiscard]] const std::string& digest() const noexcept { return digest_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
  };
  using Set = std::unordered_set<std::string, Hash, std::equal_to<>>;

  Set hosts_, urls_, words_, soft_words_;
  std::vector<std::string> parts_;
  std::string digest_;
};

/// The host of a URL in lower case, without user and port; empty where there is none.
std::string host_of(std::string_view url);

} // namespace conclave::url
