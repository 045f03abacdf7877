// Grouping and cutting of files into shards.

#include "conclave/datakit/shards.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::datakit {
namespace {

FileShard close_group(std::vector<FileEntry> files) {
  FileShard shard;
  std::string all;
  shard.info.bytes = 0;
  for (const FileEntry& file : files) {
    all += file.id + '\n' + file.digest + '\n';
    shard.info.bytes += file.bytes;
  }
  shard.info.id = files.front().id;
  if (files.size() > 1) shard.info.id += "+" + std::to_string(files.size() - 1);
  shard.info.digest = hash_hex(all);
  shard.files = std::move(files);
  return shard;
}

} // namespace

std::vector<FileShard> group_files(std::vector<FileEntry> files, std::int64_t target) {
  std::vector<FileShard> shards;
  std::vector<FileEntry> group;
  std::int64_t bytes = 0;
  for (FileEntry& file : files) {
    bytes += file.bytes;
    group.push_back(std::move(file));
    if (bytes < target) continue;
    shards.push_back(close_group(std::exchange(group, {})));
    bytes = 0;
  }
  if (!group.empty()) shards.push_back(close_group(std::move(group)));
  return shards;
}

std::vector<FileShard> cut_file(const FileEntry& file, const std::vector<std::int64_t>& cuts) {
  std::vector<FileShard> shards;
  const bool whole = cuts.size() <= 2;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    if (cuts[i] == cuts[i + 1]) continue;
    FileShard shard;
    shard.begin = cuts[i];
    shard.end = cuts[i + 1];
    const double part = static_cast<double>(shard.end - shard.begin) / static_cast<double>(cuts.back() - cuts.front());
    shard.info.bytes = static_cast<std::int64_t>(static_cast<double>(file.bytes) * part);
    shard.info.id = whole ? file.id : file.id + "@" + std::to_string(shard.begin);
    shard.info.digest =
        hash_hex(file.id + '\n' + file.digest + '\n' + std::to_string(shard.begin) + ':' + std::to_string(shard.end));
    shard.files = {file};
    shards.push_back(std::move(shard));
  }
  return shards;
}

Result<std::vector<std::int64_t>> cut_positions(const FileEntry& file, std::int64_t target,
                                                std::string_view separator) {
  std::vector<std::int64_t> cuts{0};
  while (file.bytes - cuts.back() > target + target / 2) { // no small rest of its own
    CONCLAVE_ASSIGN(const std::int64_t next, next_boundary(file.path, cuts.back() + target, separator));
    if (next >= file.bytes) break;
    cuts.push_back(next);
  }
  cuts.push_back(file.bytes);
  return cuts;
}

Result<std::vector<FileShard>> cut_or_group(std::vector<FileEntry> files, std::int64_t shard_bytes,
                                            std::int64_t group_bytes, std::string_view separator) {
  std::vector<FileShard> shards;
  std::vector<FileEntry> others;
  for (FileEntry& file : files) {
    CONCLAVE_ASSIGN(const bool compressed, is_compressed(file.path));
    if (compressed || file.bytes <= shard_bytes) {
      others.push_back(std::move(file));
      continue;
    }
    CONCLAVE_ASSIGN(const auto cuts, cut_positions(file, shard_bytes, separator));
    std::ranges::move(cut_file(file, cuts), std::back_inserter(shards));
  }
  std::ranges::move(group_files(std::move(others), group_bytes), std::back_inserter(shards));
  return shards;
}

Status FileShards::ensure() {
  const std::lock_guard lock(mutex_);
  if (listed_) return {};
  CONCLAVE_ASSIGN(shards_, list_());
  for (std::size_t i = 0; i < shards_.size(); ++i) by_id_.emplace(shards_[i].info.id, i);
  listed_ = true;
  return {};
}

Result<std::vector<ShardInfo>> FileShards::infos() {
  CONCLAVE_RETURN_IF_ERROR(ensure());
  std::vector<ShardInfo> infos;
  infos.reserve(shards_.size());
  for (const FileShard& shard : shards_) infos.push_back(shard.info);
  return infos;
}

Result<const FileShard*> FileShards::find(const std::string& id) {
  CONCLAVE_RETURN_IF_ERROR(ensure());
  const auto found = by_id_.find(id);
  if (found == by_id_.end())
    return invalid("there is no shard " + id, "list the shards again: the files may have changed since");
  return &shards_[found->second];
}

} // namespace conclave::datakit
