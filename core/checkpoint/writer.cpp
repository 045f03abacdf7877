// The commit protocol.

#include "checkpoint/writer.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <thread>

#include "checkpoint/agreement.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/store.hpp"
#include "checkpoint/verification.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

constexpr const char* step_prefix = "step-";
constexpr const char* temporary_prefix = ".tmp-";
constexpr const char* replaced_prefix = ".old-";
constexpr std::string_view superseded_prefix = "superseded-";
constexpr const char* manifest_temporary = "manifest.json.tmp";

Status rename_path(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  fs::rename(from, to, failed);
  if (failed) return file_error(to, "rename to this name", failed.value());
  return {};
}

Status remove_tree(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) return file_error(path, "remove", failed.value());
  return {};
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

/// Removes a folder unless told that it is to stay.
class RemoveOnExit {
 public:
  explicit RemoveOnExit(fs::path path) : path_(std::move(path)) {}
  ~RemoveOnExit() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  RemoveOnExit(const RemoveOnExit&) = delete;
  RemoveOnExit& operator=(const RemoveOnExit&) = delete;
  void keep() { path_.clear(); }

 private:
  fs::path path_;
};

/// All files and their digests into `folder`; folders are synced bottom up.
Status write_files(const StagedSnapshot& staged, const fs::path& folder, Manifest& manifest) {
  for (const StagedFile& file : staged.tensor_files) {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(folder / file.name));
    CONCLAVE_RETURN_IF_ERROR(writer.write(std::string_view(file.head)));
    CONCLAVE_RETURN_IF_ERROR(writer.write(std::span(file.data, static_cast<std::size_t>(file.data_bytes))));
    CONCLAVE_ASSIGN(manifest.files[file.name], writer.finish(Pages::drop));
  }
  std::vector<fs::path> folders;
  for (const auto& [name, content] : staged.extra_files) {
    const fs::path path = folder / name;
    CONCLAVE_RETURN_IF_ERROR(make_directories(path.parent_path()));
    CONCLAVE_ASSIGN(manifest.files[name], write_file(path, content, Pages::drop));
    for (fs::path at = path.parent_path(); at != folder; at = at.parent_path()) folders.push_back(at);
  }
  std::sort(folders.begin(), folders.end(), std::greater<>()); // a folder sorts before what it holds
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  for (const fs::path& path : folders) CONCLAVE_RETURN_IF_ERROR(sync_directory(path));
  return sync_directory(folder);
}

/// This rank's files in the folder that rank 0 made; what is not read back from the disk is not trusted.
Result<Manifest> write_part(const Result<StagedSnapshot>& staged, const fs::path& folder,
                            const CheckpointStore::Settings& settings) {
  if (!staged.ok()) return staged.error();
  if (!leads(settings.peers)) CONCLAVE_RETURN_IF_ERROR(wait_until_shown(folder, settings.shown_within));
  Manifest manifest = staged->manifest;
  CONCLAVE_RETURN_IF_ERROR(write_files(*staged, folder, manifest));
  CONCLAVE_ASSIGN(const DirectoryHandle opened, DirectoryHandle::open(folder));
  CONCLAVE_RETURN_IF_ERROR(verify_contents(opened, manifest));
  return manifest;
}

std::int64_t folder_bytes(const fs::path& folder) {
  std::int64_t total = 0;
  std::error_code ignored;
  for (fs::recursive_directory_iterator at(folder, ignored), end; at != end; at.increment(ignored)) {
    if (ignored) break;
    if (at->is_regular_file(ignored)) total += static_cast<std::int64_t>(at->file_size(ignored));
  }
  return total;
}

/// Unless told that the new checkpoint is good: removes it and brings back the one that it was to replace.
class UndoOnExit {
 public:
  UndoOnExit(fs::path target, fs::path replaced) : target_(std::move(target)), replaced_(std::move(replaced)) {}
  ~UndoOnExit() {
    if (target_.empty()) return;
    std::error_code ignored;
    fs::remove(target_ / manifest_name, ignored);
    fs::remove_all(target_, ignored);
    if (is_there(replaced_)) fs::rename(replaced_, target_, ignored);
    (void)sync_directory(target_.parent_path());
  }
  UndoOnExit(const UndoOnExit&) = delete;
  UndoOnExit& operator=(const UndoOnExit&) = delete;
  void keep() { target_.clear(); }

 private:
  fs::path target_, replaced_;
};

/// Rank 0's side of a save, from the empty folder to the committed checkpoint. Until it is told that this is good, its end
/// undoes what was done.
class Commit {
 public:
  Commit(std::int64_t step, const CheckpointStore::Settings& settings)
      : settings_(settings),
        target_(settings.directory / step_folder_name(step)),
        replaced_(settings.directory / (replaced_prefix + step_folder_name(step))),
        temporary_(settings.directory / (temporary_prefix + step_folder_name(step))) {}

  Status begin() {
    CONCLAVE_RETURN_IF_ERROR(remove_tree(temporary_));
    leftovers_.emplace(temporary_);
    if (is_there(target_)) {
      if (is_there(target_ / manifest_name)) {
        CONCLAVE_RETURN_IF_ERROR(remove_tree(replaced_));
        CONCLAVE_RETURN_IF_ERROR(rename_path(target_, replaced_));
      } else {
        CONCLAVE_RETURN_IF_ERROR(remove_tree(target_));
      }
    }
    undo_.emplace(target_, replaced_);
    return make_directories(temporary_);
  }

  /// Commits rank 0's part and the others', as texts in rank order; gives the checkpoint's size in bytes.
  Result<std::int64_t> finish(Manifest manifest, const std::vector<std::string>& parts) {
    for (std::size_t rank = 1; rank < parts.size(); ++rank) {
      CONCLAVE_ASSIGN(Manifest part,
                      decode_manifest(parts[rank], "part of rank " + std::to_string(rank), ManifestScope::part));
      CONCLAVE_RETURN_IF_ERROR(merge_part(manifest, std::move(part), rank));
    }
    CONCLAVE_RETURN_IF_ERROR(check_all_boxes(manifest));
    CONCLAVE_ASSIGN(const std::string text, encode_manifest(manifest));
    CONCLAVE_RETURN_IF_ERROR(rename_path(temporary_, target_));
    CONCLAVE_RETURN_IF_ERROR(sync_directory(settings_.directory));
    if (settings_.before_commit) CONCLAVE_RETURN_IF_ERROR(settings_.before_commit(manifest.step));
    CONCLAVE_RETURN_IF_ERROR(write_file(target_ / manifest_temporary, text, Pages::drop).status());
    CONCLAVE_RETURN_IF_ERROR(rename_path(target_ / manifest_temporary, target_ / manifest_name));
    CONCLAVE_RETURN_IF_ERROR(sync_directory(target_));
    CONCLAVE_ASSIGN(const DirectoryHandle folder, DirectoryHandle::open(target_));
    CONCLAVE_ASSIGN(const Manifest committed, read_manifest(folder));
    if (committed.step != manifest.step)
      return internal_error("the checkpoint just written has another step", target_.string());
    undo_->keep();
    leftovers_->keep(); // renamed long ago
    if (Status removed = remove_tree(replaced_); !removed.ok() && settings_.warn) settings_.warn(removed.error());
    return folder_bytes(target_);
  }

  [[nodiscard]] const fs::path& temporary() const { return temporary_; }

 private:
  const CheckpointStore::Settings& settings_;
  fs::path target_, replaced_, temporary_;
  std::optional<RemoveOnExit> leftovers_;
  std::optional<UndoOnExit> undo_; // the first to go
};

/// `<n>` of a name that begins with `superseded-<n>-`; 0 for another name.
std::int64_t superseded_number(std::string_view name) {
  if (!name.starts_with(superseded_prefix)) return 0;
  name.remove_prefix(superseded_prefix.size());
  std::int64_t number = 0;
  const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), number);
  return wrong == std::errc{} && end != name.data() + name.size() && *end == '-' ? number : 0;
}

} // namespace

std::string step_folder_name(std::int64_t step) {
  char text[40];
  std::snprintf(text, sizeof text, "%s%08lld", step_prefix, static_cast<long long>(step));
  return text;
}

std::optional<std::int64_t> step_of_folder(const std::string& name) {
  const std::string prefix = step_prefix;
  if (!name.starts_with(prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 18)
    return std::nullopt;
  std::int64_t step = 0;
  for (const char c : name.substr(prefix.size())) {
    if (c < '0' || c > '9') return std::nullopt;
    step = step * 10 + (c - '0');
  }
  return step_folder_name(step) == name ? std::optional(step) : std::nullopt;
}

Status wait_until_shown(const fs::path& path, std::chrono::milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (!is_there(path)) {
    if (std::chrono::steady_clock::now() >= deadline)
      return storage_error("what rank 0 made there is not seen by this rank",
                           "keep the run directory on a file system that all ranks share", path.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return {};
}

Result<CheckpointEntry> write_checkpoint(const Result<StagedSnapshot>& staged, std::int64_t step,
                                         const CheckpointStore::Settings& settings) {
  constexpr const char* what = "writing a checkpoint";
  Peers* const peers = settings.peers;
  std::optional<Commit> commit; // of rank 0
  Result<std::string> begun = std::string();
  if (leads(peers)) {
    commit.emplace(step, settings);
    begun = contained(what, settings.directory, [&]() -> Result<std::string> {
      CONCLAVE_RETURN_IF_ERROR(commit->begin());
      return commit->temporary().filename().string();
    });
    if (!begun.ok()) commit.reset();
  }
  CONCLAVE_ASSIGN(const std::string folder, share(peers, "checkpoint/save/folder", begun));

  Result<Manifest> part =
      contained(what, settings.directory, [&] { return write_part(staged, settings.directory / folder, settings); });
  Result<std::string> text = part.ok() ? Result<std::string>(std::string()) : Result<std::string>(part.error());
  if (part.ok() && !leads(peers)) text = encode_manifest(*part);
  const auto parts = gather_results(peers, "checkpoint/save/parts", text);

  Result<std::string> outcome = std::string();
  if (commit) {
    outcome = contained(what, settings.directory, [&]() -> Result<std::string> {
      if (!parts.ok()) return parts.error();
      CONCLAVE_ASSIGN(const std::int64_t bytes, commit->finish(std::move(part).value(), *parts));
      return std::to_string(bytes);
    });
    commit.reset(); // undoes what did not come to its end, before anybody hears of it
  }
  CONCLAVE_ASSIGN(const std::string bytes, share(peers, "checkpoint/save/outcome", outcome));
  return CheckpointEntry{step, settings.directory / step_folder_name(step), std::stoll(bytes)};
}

Status remove_checkpoint(const fs::path& folder) {
  std::error_code failed;
  fs::remove(folder / manifest_name, failed);
  if (failed) return file_error(folder / manifest_name, "remove", failed.value());
  CONCLAVE_RETURN_IF_ERROR(sync_directory(folder));
  return remove_tree(folder);
}

Status recover(const fs::path& directory, const std::function<void(const Error&)>& note) {
  std::vector<fs::path> found;
  std::error_code failed;
  for (fs::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed))
    found.push_back(at->path());
  if (failed) return file_error(directory, "list the folder", failed.value());
  std::sort(found.begin(), found.end()); // `.old-` before `step-`: a replaced checkpoint decides first
  const auto told = [&](const fs::path& path, const char* what) {
    if (note) note(storage_error(what, {}, path.string()));
  };
  for (const fs::path& path : found) {
    const std::string name = path.filename().string();
    if (name.starts_with(replaced_prefix) && step_of_folder(name.substr(std::string(replaced_prefix).size()))) {
      const fs::path target = directory / name.substr(std::string(replaced_prefix).size());
      if (open_checkpoint(target).ok()) { // committed, and perhaps killed before it was read back
        CONCLAVE_RETURN_IF_ERROR(remove_tree(path));
      } else {
        CONCLAVE_RETURN_IF_ERROR(remove_tree(target));
        CONCLAVE_RETURN_IF_ERROR(rename_path(path, target));
        told(target, "brought back the checkpoint that an interrupted save was replacing");
      }
    } else if (name.starts_with(std::string(temporary_prefix) + step_prefix)) {
      CONCLAVE_RETURN_IF_ERROR(remove_tree(path));
      told(path, "removed what an interrupted save had left");
    } else if (name.starts_with(probe_prefix)) {
      CONCLAVE_RETURN_IF_ERROR(remove_tree(path));
    } else if (step_of_folder(name) && is_there(path) && !is_there(path / manifest_name)) {
      CONCLAVE_RETURN_IF_ERROR(remove_tree(path));
      told(path, "removed a checkpoint without manifest: its save was interrupted");
    }
  }
  return {};
}

Result<std::vector<CheckpointEntry>> set_aside_after(std::int64_t step, const fs::path& directory) {
  std::int64_t number = 1; // above all that were given before, so that no name is there already
  std::error_code failed;
  for (fs::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed))
    number = std::max(number, superseded_number(at->path().filename().string()) + 1);
  if (failed) return file_error(directory, "list the folder", failed.value());
  std::vector<CheckpointEntry> moved = list_committed(directory);
  std::erase_if(moved, [&](const CheckpointEntry& entry) { return entry.step <= step; });
  // The newest first: whenever this is cut short, what keeps its name is the beginning of the old branch.
  for (auto entry = moved.rbegin(); entry != moved.rend(); ++entry) {
    const fs::path aside =
        directory / (std::string(superseded_prefix) + std::to_string(number) + "-" + entry->path.filename().string());
    CONCLAVE_RETURN_IF_ERROR(rename_path(entry->path, aside));
    entry->path = aside;
  }
  if (!moved.empty()) CONCLAVE_RETURN_IF_ERROR(sync_directory(directory));
  return moved;
}

std::vector<CheckpointEntry> list_committed(const fs::path& directory) {
  std::vector<CheckpointEntry> entries;
  std::error_code ignored;
  for (fs::directory_iterator at(directory, ignored), end; !ignored && at != end; at.increment(ignored)) {
    const auto step = step_of_folder(at->path().filename().string());
    if (step && is_there(at->path() / manifest_name)) entries.push_back({*step, at->path(), folder_bytes(at->path())});
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return entries;
}

} // namespace conclave
