// Splitter: one file's bytes to texts of bounded size, cut where a reader would cut.
//
// What this is: the rule by which a file becomes one or more documents, in memory bounded by `maximum`. What this is not:
// a sentence or topic splitter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::text {

struct SplitRule {
  std::size_t enough;  ///< a text of at least so many bytes ends at the next blank line
  std::size_t maximum; ///< no text is longer, in bytes; >= enough
  bool windows_1252 = false;
};

class Splitter {
 public:
  Splitter(std::unique_ptr<datakit::ByteStream> stream, SplitRule rule);

  /// The next text into `text`; false at the end. Texts joined in order give the file without its byte order mark and
  /// with LF for CRLF. When no blank line comes before `maximum`, the cut is at the last blank line, else line end, else
  /// character that fits.
  Result<bool> next(std::string& text);

  /// A NUL among the first bytes read: no text. Valid after the first next().
  [[nodiscard]] bool looks_binary() const noexcept { return binary_; }

 private:
  Status fill();
  [[nodiscard]] std::size_t cut() const;

  std::unique_ptr<datakit::ByteStream> stream_;
  SplitRule rule_;
  std::string buffer_; ///< decoded bytes; those before begin_ are handed out
  std::size_t begin_ = 0;
  std::string chunk_;
  bool started_ = false, ended_ = false, binary_ = false, pending_return_ = false;
};

} // namespace conclave::text
