// Shards of a file-based source: small files together, big ones alone, so that a shard is worth a thread's while.
//
// What this is: the grouping, and the table that lets open() find a shard's files again. What this is not: the reading.
//
// Threading: FileShards::find() and infos() may be called from any thread; the first call lists the files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "conclave/datakit/files.hpp"
#include "conclave/source.hpp"

namespace conclave::datakit {

struct FileShard {
  ShardInfo info;
  std::vector<FileEntry> files; ///< one or more
  /// A part of the only file, in units that the source chooses (bytes, entries); end < 0: all of it.
  std::int64_t begin = 0, end = -1;
};

/// Consecutive files together until they reach `target` bytes. A shard's id is its first file's id, with `+n` when n more
/// follow; its digest covers the ids and digests of all.
std::vector<FileShard> group_files(std::vector<FileEntry> files, std::int64_t target);

/// Parts of one file as shards: cuts[0] .. cuts[n] are ascending positions; empty parts are left out. Ids are
/// `<file id>@<begin>` (the file's id when there is one part); bytes is the file's size shared out in proportion.
std::vector<FileShard> cut_file(const FileEntry& file, const std::vector<std::int64_t>& cuts);

/// Ascending cut positions 0, ..., size of a plain file, about `target` bytes apart, each after a `separator`.
Result<std::vector<std::int64_t>> cut_positions(const FileEntry& file, std::int64_t target, std::string_view separator);

/// Plain files above `shard_bytes` in parts, each after a `separator`; the others (compressed ones can only be read from the
/// start) together until they reach `group_bytes`.
Result<std::vector<FileShard>> cut_or_group(std::vector<FileEntry> files, std::int64_t shard_bytes,
                                            std::int64_t group_bytes, std::string_view separator);

/// The shards of one source instance, listed once.
class FileShards {
 public:
  explicit FileShards(std::function<Result<std::vector<FileShard>>()> list) : list_(std::move(list)) {}
  Result<std::vector<ShardInfo>> infos();
  /// The shard of that id; valid while this object lives. An unknown id is an error.
  Result<const FileShard*> find(const std::string& id);

 private:
  Status ensure();

  std::function<Result<std::vector<FileShard>>()> list_;
  std::mutex mutex_; // of the two below, until listed
  std::vector<FileShard> shards_;
  std::unordered_map<std::string, std::size_t> by_id_;
  bool listed_ = false;
};

} // namespace conclave::datakit
