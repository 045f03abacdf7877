// Source: where raw text comes from.
//
// A source lists shards with stable ids and opens each as a pull reader. The host reads shards on worker threads, one
// thread per reader, in an order of its own; so a shard's documents must depend on the shard alone.
//
// Caching: the host keys prepared data by the plugin's id and output_revision, its options that affect numerics, and each
// shard's `digest`. A source whose input can change in place must put size, time or content into the digest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conclave/document.hpp"
#include "conclave/plugin.hpp"

namespace conclave {

struct ShardInfo {
  std::string id;          ///< stable between runs and machines: a relative path, a URL
  std::string digest;      ///< changes when the content does
  std::int64_t bytes = -1; ///< size on disk for progress and planning; -1 when unknown
};

/// Reads one shard from its beginning. Used by one thread at a time.
class ShardReader {
 public:
  virtual ~ShardReader();
  /// The next document into `out` (every field replaced), false at the end. A malformed record is skipped with
  /// `skipped()` counting it; an unreadable shard is an error that names the shard.
  virtual Result<bool> next(RawDocument& out) = 0;
  /// Records that could not be read as documents so far.
  [[nodiscard]] virtual std::int64_t skipped() const { return 0; }
};

class Source : public Plugin {
 public:
  static constexpr const char* kind = "source";
  ~Source() override;

  /// [main thread, prepare] All shards, in a stable order. No match is an error that names the pattern.
  virtual Result<std::vector<ShardInfo>> shards() = 0;
  /// [any worker thread] Must be safe to call for different shards at once.
  virtual Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) = 0;
};

} // namespace conclave
