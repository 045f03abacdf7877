// Stage: one content-addressed folder of the cache, `<cache>/<name>-<key>/`.
//
// The key is a digest of everything that the folder's content depends on, so a folder is never changed, only made or
// removed. While it is made it is called `....partial`; its manifest is written last and the folder then gets its name,
// so a folder without a whole manifest does not exist. One process at a time makes a stage (a lock that the kernel
// releases with the process); others wait and then find it made. A cache that is complete may be read-only.
//
// Threading: one thread at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/files.hpp"

namespace conclave::data {

class Stage {
 public:
  /// Finds the stage, or takes its lock and makes an empty partial folder (what an interrupted process or a damaged stage
  /// left is removed first). Waits while another process makes the same stage: a stop request ends that with
  /// Code::stopped; after a second `notice`, where given, is told once what it waits for.
  static Result<Stage> open(const std::filesystem::path& cache, const std::string& name, const std::string& key,
                            const std::stop_token& stop,
                            const std::function<void(const std::string& text)>& notice = {});

  /// True when the stage is there; then facts() and files() are what commit() was given.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  /// Where the files are, or are to be made.
  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
  [[nodiscard]] const nlohmann::json& facts() const noexcept { return facts_; }
  [[nodiscard]] const std::vector<FileEntry>& files() const noexcept { return files_; }

  /// Writes the manifest and gives the folder its name. Precondition: !complete().
  Status commit(std::vector<FileEntry> files, nlohmann::json facts);

 private:
  Stage() = default;

  std::filesystem::path cache_, final_, directory_;
  std::string name_, key_;
  FileHandle lock_; // its closing releases the lock
  bool complete_ = false;
  nlohmann::json facts_;
  std::vector<FileEntry> files_;
};

/// A stage's manifest after its cheap check: it parses, its own digest fits, and every file is there in its size.
struct StageManifest {
  std::string name, key;
  nlohmann::json facts;
  std::vector<FileEntry> files;
};
Result<StageManifest> read_stage_manifest(const std::filesystem::path& directory);

/// The full check: every file's content against its digest. Reads everything, so no run does it: it serves the verb that
/// checks a cache, and the tests.
Status verify_stage(const std::filesystem::path& directory);

} // namespace conclave::data
