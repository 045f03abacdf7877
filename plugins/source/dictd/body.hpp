// Body: the articles' text of a dictd database, by position.
//
// Three forms: plain (.dict), dictzip (.dict.dz with the chunk table that dictzip(1) writes into gzip's extra field, so that
// any chunk can be inflated alone), and plain gzip, which is inflated as a whole.
//
// Threading: one thread at a time per object.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conclave/status.hpp"

namespace conclave::dictd {

class Body {
 public:
  virtual ~Body() = default;
  /// Exactly `length` bytes at `offset` into `out` (replaced). False when the body ends before; damaged data is an error.
  virtual Result<bool> read(std::int64_t offset, std::int64_t length, std::string& out) = 0;
};

Result<std::unique_ptr<Body>> open_body(const std::string& path);

/// The body beside an index: X.index has X.dict.dz or X.dict. An error names both when neither is there.
Result<std::string> find_body(const std::string& index_path);

} // namespace conclave::dictd
