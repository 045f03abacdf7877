// TargetFile: one endpoint in a file of Prometheus's file-based service discovery (file_sd), as long as the object lives.
//
// What this is: one JSON file with one target, written whole or not at all, taken away at the end. A process that is killed
// leaves its file: the server then sees a target that is down, and the next attempt writes the file anew, or removes it when
// that attempt has fewer ranks.
//
// Threading: one thread.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "conclave/status.hpp"
#include "exporter.hpp"

namespace conclave::prometheus_monitor {

/// `<prefix>.<rank>.json`: a name of its own for each rank, and one pattern for the server.
std::filesystem::path target_path(const std::filesystem::path& prefix, int rank);
/// Removes the target files of rank `first` and all above it, as far as the system lets it.
void remove_targets_from(const std::filesystem::path& prefix, int first);

class TargetFile {
 public:
  /// `address` is `host:port`. Makes the folders that lack; `file` is replaced if it is there.
  /// Code::storage names the file and the system's reason.
  static Result<TargetFile> write(std::filesystem::path file, const std::string& address, const Labels& labels);
  TargetFile(TargetFile&& other) noexcept;
  TargetFile& operator=(TargetFile&& other) noexcept;
  ~TargetFile(); ///< removes the file

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return file_; }

 private:
  explicit TargetFile(std::filesystem::path file) noexcept : file_(std::move(file)) {}

  std::filesystem::path file_; ///< empty: moved from
};

} // namespace conclave::prometheus_monitor
