// The commit protocol.

#include "checkpoint/writer.hpp"

#include <algorithm>
#include <cstdio>
#include <system_error>

#include "checkpoint/file_io.hpp"
#include "checkpoint/manifest.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

constexpr const char* step_prefix = "step-";
constexpr const char* temporary_prefix = ".tmp-";
constexpr const char* replaced_prefix = ".old-";
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

Status make_folder(const fs::path& path) {
  std::error_code failed;
  fs::create_directories(path, failed);
  if (failed) return file_error(path, "make the folder", failed.value());
  return {};
}

/// All files and their digests into `folder`; folders are synced bottom up.
Status write_files(const StagedSnapshot& staged, const fs::path& folder, Manifest& manifest) {
  for (const StagedFile& file : staged.tensor_files) {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(folder / file.name));
    CONCLAVE_RETURN_IF_ERROR(writer.write(std::string_view(file.head)));
    CONCLAVE_RETURN_IF_ERROR(writer.write(std::span(file.data, static_cast<std::size_t>(file.data_bytes))));
    CONCLAVE_ASSIGN(manifest.files[file.name], writer.finish());
  }
  std::vector<fs::path> folders;
  for (const auto& [name, content] : staged.extra_files) {
    const fs::path path = folder / name;
    CONCLAVE_RETURN_IF_ERROR(make_folder(path.parent_path()));
    CONCLAVE_ASSIGN(manifest.files[name], write_file(path, content));
    for (fs::path at = path.parent_path(); at != folder; at = at.parent_path()) folders.push_back(at);
  }
  std::sort(folders.begin(), folders.end(), std::greater<>()); // a folder sorts before what it holds
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  for (const fs::path& path : folders) CONCLAVE_RETURN_IF_ERROR(sync_directory(path));
  return sync_directory(folder);
}

Status write_and_commit(const StagedSnapshot& staged, const fs::path& temporary, const fs::path& target) {
  const fs::path directory = target.parent_path();
  Manifest manifest = staged.manifest;
  CONCLAVE_RETURN_IF_ERROR(make_folder(temporary));
  CONCLAVE_RETURN_IF_ERROR(write_files(staged, temporary, manifest));
  CONCLAVE_ASSIGN(const std::string text, encode_manifest(manifest));
  CONCLAVE_RETURN_IF_ERROR(rename_path(temporary, target));
  CONCLAVE_RETURN_IF_ERROR(sync_directory(directory));
  CONCLAVE_ASSIGN([[maybe_unused]] const FileDigest digest, write_file(target / manifest_temporary, text));
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

/// Removes its leftovers and brings back the checkpoint that it was to replace.
void undo(const fs::path& target, const fs::path& replaced) {
  std::error_code ignored;
  fs::remove(target / manifest_name, ignored);
  fs::remove_all(target, ignored);
  if (is_there(replaced)) fs::rename(replaced, target, ignored);
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

Result<CheckpointEntry> write_checkpoint(const StagedSnapshot& staged, const fs::path& directory) {
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
  if (Status status = write_and_commit(staged, temporary, target); !status.ok()) {
    undo(target, replaced);
    return status.error();
  }
  leftovers.keep(); // renamed long ago
  CONCLAVE_RETURN_IF_ERROR(remove_tree(replaced));
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
