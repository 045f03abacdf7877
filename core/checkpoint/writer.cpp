// The commit protocol.

#include "checkpoint/writer.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>

#include "checkpoint/manifest.hpp"
#include "checkpoint/store.hpp"
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

Status write_and_commit(const StagedSnapshot& staged, const fs::path& temporary, const fs::path& target,
                        const std::function<Status(std::int64_t step)>& before_commit) {
  const fs::path directory = target.parent_path();
  Manifest manifest = staged.manifest;
  CONCLAVE_RETURN_IF_ERROR(make_directories(temporary));
  CONCLAVE_RETURN_IF_ERROR(write_files(staged, temporary, manifest));
  CONCLAVE_ASSIGN(const std::string text, encode_manifest(manifest));
  CONCLAVE_RETURN_IF_ERROR(rename_path(temporary, target));
  CONCLAVE_RETURN_IF_ERROR(sync_directory(directory));
  if (before_commit) CONCLAVE_RETURN_IF_ERROR(before_commit(manifest.step));
  CONCLAVE_RETURN_IF_ERROR(write_file(target / manifest_temporary, text, Pages::drop).status());
  CONCLAVE_RETURN_IF_ERROR(rename_path(target / manifest_temporary, target / manifest_name));
  CONCLAVE_RETURN_IF_ERROR(sync_directory(target));
  // Not trusted until it has been read back from the disk.
  CONCLAVE_ASSIGN(const auto reader, open_checkpoint(target));
  if (reader->step() != manifest.step)
    return internal_error("the checkpoint just written has another step", target.string());
  return {};
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

Result<CheckpointEntry> write_checkpoint(const StagedSnapshot& staged, const fs::path& directory,
                                         const std::function<Status(std::int64_t step)>& before_commit,
                                         const std::function<void(const Error&)>& note) {
  const std::string name = step_folder_name(staged.manifest.step);
  const fs::path target = directory / name;
  const fs::path temporary = directory / (temporary_prefix + name);
  const fs::path replaced = directory / (replaced_prefix + name);
  CONCLAVE_RETURN_IF_ERROR(remove_tree(temporary));
  RemoveOnExit leftovers(temporary);
  if (is_there(target)) {
    if (is_there(target / manifest_name)) {
      CONCLAVE_RETURN_IF_ERROR(remove_tree(replaced));
      CONCLAVE_RETURN_IF_ERROR(rename_path(target, replaced));
    } else {
      CONCLAVE_RETURN_IF_ERROR(remove_tree(target));
    }
  }
  UndoOnExit undo(target, replaced);
  CONCLAVE_RETURN_IF_ERROR(write_and_commit(staged, temporary, target, before_commit));
  undo.keep();
  leftovers.keep(); // renamed long ago
  if (Status removed = remove_tree(replaced); !removed.ok() && note) note(removed.error());
  return CheckpointEntry{staged.manifest.step, target, folder_bytes(target)};
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
