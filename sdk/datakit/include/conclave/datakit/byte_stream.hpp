// ByteStream: the bytes of a file as they were before gzip or zstd, in order, in bounded memory.
//
// What this is: sequential reading that tells gzip and zstd by their first bytes, whatever the name says. What this is
// not: random access into compressed data, or an interpretation of the bytes.
//
// Threading: one thread at a time per stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "conclave/status.hpp"

namespace conclave::datakit {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Up to `size` bytes into `out`; 0 only at the end. Damaged or truncated data is an error that names the file.
  virtual Result<std::size_t> read(char* out, std::size_t size) = 0;
};

/// A part [begin, end) of a plain file; end < 0 means the file's end.
struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t end = -1;
  [[nodiscard]] bool whole() const noexcept { return begin == 0 && end < 0; }
};

/// Opens a file. Concatenated gzip members and zstd frames are read through, as their own tools do. A range is of plain
/// bytes and is allowed for uncompressed files only.
Result<std::unique_ptr<ByteStream>> open_bytes(const std::string& path, ByteRange range = {});

/// The bytes as they lie on disk, compressed or not.
Result<std::unique_ptr<ByteStream>> open_stored_bytes(const std::string& path, ByteRange range = {});

/// True when the file's first bytes are those of gzip or zstd.
Result<bool> is_compressed(const std::string& path);

/// The first position >= offset that follows a `separator` (or is the start or the end) of a plain file: where a part
/// that begins about `offset` can begin without cutting a record.
Result<std::int64_t> next_boundary(const std::string& path, std::int64_t offset, std::string_view separator);

/// Reads everything into `out` (cleared first). False when it is longer than `limit` bytes; `out` then holds the first
/// `limit` of them.
Result<bool> read_all(ByteStream& stream, std::size_t limit, std::string& out);

/// Cuts a stream into lines without their line ends (LF or CRLF).
class LineReader {
 public:
  enum class Line {
    none,     ///< the end
    text,     ///< a line
    too_long, ///< a line longer than the limit; passed over
  };
  LineReader(std::unique_ptr<ByteStream> stream, std::size_t limit);
  /// The next line into `line` (cleared first).
  Result<Line> next(std::string& line);
  /// Lines handed out or passed over so far.
  [[nodiscard]] std::int64_t count() const noexcept { return count_; }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::size_t limit_;
  std::string buffer_;
  std::size_t position_ = 0, filled_ = 0;
  std::int64_t count_ = 0;
  bool ended_ = false;
};

} // namespace conclave::datakit
