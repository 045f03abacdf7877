// Members: an archive's bytes before compression, gzip member by gzip member.
//
// What this is: the layer that survives damage. Archives hold a gzip member for each record, so that a reader can begin at
// any of them; where one is damaged, the next is found by its first bytes. What this is not: records (records.hpp).
//
// Threading: one thread at a time per object.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conclave/status.hpp"

namespace conclave::warc {

class Members {
 public:
  virtual ~Members() = default;
  /// Goes to the next member and passes over what is left of the present one. False at the end. An error means that the
  /// file could not be read.
  virtual Result<bool> next() = 0;
  /// Up to `size` bytes of the present member; 0 at its end.
  virtual Result<std::size_t> read(char* out, std::size_t size) = 0;
  /// Where the present member begins in the file.
  [[nodiscard]] virtual std::int64_t offset() const noexcept = 0;
  /// What is wrong with the present member; empty: nothing so far. Complete when read() gave 0: its checksum comes last.
  [[nodiscard]] virtual const std::string& damage() const noexcept = 0;
};

/// The members that begin in [begin, end) of a file; end < 0: its end. A file that is not gzip is one member, which
/// begins at 0.
Result<std::unique_ptr<Members>> open_members(const std::string& path, std::int64_t begin, std::int64_t end);

} // namespace conclave::warc
