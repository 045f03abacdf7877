// Stage: one content-addressed folder of the cache, `<cache>/<name>-<key>/`.
//
// The key is a digest of everything that the folder's content depends on, so a folder is never changed, only made or
// removed. What is being made lives in `<name>-<key>.partial/`: finished units (units.hpp), and folders that are named
// after the task, the host and the process that write them. A manifest is written last and the folder then gets its name,
// so a folder without a whole manifest does not exist. Everything rests on rename(): who comes second finds the name taken
// by the same content. A cache that is complete may be read-only.
//
// Who works on what only saves doing it twice. A process alone makes a stage under a lock, which the kernel releases with the
// process; others wait and then find the stage made. Tasks that make a cache together use claims instead, because not every
// file system that machines share has locks that work between them: a claim is a symbolic link that names its owner. That
// of a killed task stays until the task is started again. No two processes may run as one task at a time.
//
// Threading: one thread at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/files.hpp"

namespace conclave::data {

/// One of the processes that make a cache together.
struct Task {
  int index = 0, count = 1;
  [[nodiscard]] bool alone() const noexcept { return count == 1; }
};

using Notice = std::function<void(const std::string& text)>;

/// Polls `ready` until it says true. A stop request ends that with Code::stopped; after a second `notice`, where given, is
/// told once what is waited for.
Status wait_until(const std::function<Result<bool>()>& ready, const std::stop_token& stop, const Notice& notice,
                  const std::function<std::string()>& what);

/// A folder's manifest after its cheap check: it parses, its own digest fits, and every file is there in its size.
struct StageManifest {
  std::string name, key;
  nlohmann::json facts;
  std::vector<FileEntry> files;
};
Result<StageManifest> read_stage_manifest(const std::filesystem::path& directory);
/// The same, nothing where there is no whole folder. An error: there is one, and it cannot be read.
Result<std::optional<StageManifest>> find_stage_manifest(const std::filesystem::path& directory);

/// Writes the manifest of `directory` and gives the folder the name `to`, which is durable once its parent is synced (with
/// Sync::later, what is inside may be neither). Where the name is taken by a whole folder, that one stays and `directory` is
/// removed.
Status commit_folder(const std::filesystem::path& directory, const std::filesystem::path& to,
                     const StageManifest& manifest, Sync sync = Sync::now);

class Stage {
 public:
  /// Finds the stage, or makes ready for making it: what this task left when it was interrupted (a process alone: anybody),
  /// except finished units, is removed. A process alone waits here while another one makes the same stage (wait_until()).
  static Result<Stage> open(const std::filesystem::path& cache, const std::string& name, const std::string& key,
                            const std::stop_token& stop, const Notice& notice = {}, Task task = {});
  /// Looks only: waits for nothing, changes nothing.
  static Result<Stage> find(const std::filesystem::path& cache, const std::string& name, const std::string& key);

  /// True when the stage is there; then facts() and files() are what commit() was given.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  /// Looks again, where it was not complete. What another task may have left of making it is removed when it is.
  Status adopt();
  /// Where the files are, or are to be made: there from open() on for a process alone, else from begin() on.
  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
  [[nodiscard]] const nlohmann::json& facts() const noexcept { return manifest_.facts; }
  [[nodiscard]] const std::vector<FileEntry>& files() const noexcept { return manifest_.files; }

  [[nodiscard]] const std::string& name() const noexcept { return manifest_.name; }
  [[nodiscard]] const std::string& key() const noexcept { return manifest_.key; }
  [[nodiscard]] Task task() const noexcept { return task_; }
  /// `<name>-<key>`, the folder that there is or will be.
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return final_; }
  /// `<name>-<key>.partial`.
  [[nodiscard]] const std::filesystem::path& partial() const noexcept { return partial_; }
  /// `<what>.<owner>` in partial(): a name that no other process writes to.
  [[nodiscard]] std::filesystem::path own(const std::string& what) const;

  /// Claims a part of the work among tasks; a process alone has the lock and always succeeds. False: somebody else has it.
  [[nodiscard]] Result<bool> claim(const std::string& what) const;
  void release(const std::string& what) const noexcept;
  /// Of the link in partial() that claims it.
  [[nodiscard]] static std::string claim_name(const std::string& what);
  /// Who has claimed it: `task-3-of-8.<host>.<process>`; "" when nobody has.
  [[nodiscard]] std::string claimed_by(const std::string& what) const;
  /// Who holds the lock, as it said so: `process 4711 on node3`; nothing when nobody does.
  [[nodiscard]] std::optional<std::string> holder() const;

  /// Makes directory(), and removes a damaged stage. Precondition: !complete().
  Status begin();
  /// Writes the manifest and gives the folder its name. Precondition: !complete(), and begin().
  Status commit(std::vector<FileEntry> files, nlohmann::json facts);

 private:
  Stage() = default;
  Status refresh();
  Status clear_leftovers();
  void remove_partial() const noexcept;

  std::filesystem::path cache_, final_, partial_, directory_;
  StageManifest manifest_;
  Task task_;
  FileHandle lock_; // its closing releases the lock
  bool complete_ = false;
};

/// The full check: every file's content against its digest. Reads everything, so no run does it: it serves the verb that
/// checks a cache, and the tests.
Status verify_stage(const std::filesystem::path& directory);

} // namespace conclave::data
