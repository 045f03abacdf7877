// @ID@: one document a line of a text file, as a start. Say here what yours is and is not.

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "conclave/source.hpp"

namespace {

struct Options {
  std::vector<conclave::Path> paths;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("paths", &Options::paths)
      .required()
      .doc("Text files; each line that is not empty is a document.")
      .build();
}

/// Reads one file from its beginning; used by one thread at a time.
class LineReader final : public conclave::ShardReader {
 public:
  explicit LineReader(std::string path) : path_(std::move(path)), in_(path_, std::ios::binary) {}

  conclave::Status opened() const {
    if (in_) return {};
    return conclave::storage_error(std::string("cannot be read (") + std::strerror(errno) + ")", "check the path and its rights", path_);
  }

  conclave::Result<bool> next(conclave::RawDocument& out) override {
    out.clear();
    while (std::getline(in_, out.text)) {
      ++line_;
      if (out.text.empty()) continue;
      out.id = path_ + "#" + std::to_string(line_);
      return true;
    }
    if (in_.bad()) return conclave::storage_error("cannot be read to its end", {}, path_);
    return false;
  }

 private:
  std::string path_;
  std::ifstream in_;
  std::int64_t line_ = 0;
};

class @CLASS@ final : public conclave::Source {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  /// In a stable order, with ids and digests that change when the content does.
  conclave::Result<std::vector<conclave::ShardInfo>> shards() override {
    std::vector<conclave::ShardInfo> shards;
    for (const conclave::Path& path : options_.paths) {
      std::error_code failed;
      const auto bytes = std::filesystem::file_size(path.value, failed);
      if (failed) return conclave::storage_error("cannot be read (" + failed.message() + ")", "check the path", path.value);
      const auto changed = std::filesystem::last_write_time(path.value, failed).time_since_epoch().count();
      shards.push_back({path.value, std::to_string(bytes) + "-" + std::to_string(changed), static_cast<std::int64_t>(bytes)});
    }
    return shards;
  }

  /// Called for different shards at once, from worker threads.
  conclave::Result<std::unique_ptr<conclave::ShardReader>> open(const conclave::ShardInfo& shard) override {
    auto reader = std::make_unique<LineReader>(shard.id);
    CONCLAVE_RETURN_IF_ERROR(reader->opened());
    return std::unique_ptr<conclave::ShardReader>(std::move(reader));
  }

 private:
  Options options_;
};

} // namespace

// Raise output_revision whenever the same file gives other documents: caches key on it.
CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "One document a line of a text file.", .licence = "MIT"}, table()))
