// Stage folders: lock, manifest, commit.

#include "data/stage.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <system_error>
#include <thread>

#include "io/folders.hpp"

namespace conclave::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int format_version = 1;
constexpr const char* manifest_name = "manifest.json";
constexpr std::string_view claim_suffix = ".claim";
constexpr auto shortest_poll = std::chrono::milliseconds(20), longest_poll = std::chrono::milliseconds(1000);
constexpr auto silent_wait = std::chrono::seconds(1);

Error damaged(const fs::path& path, const std::string& what) {
  return storage_error(what, "remove the folder " + path.parent_path().string() + "; prepare then makes it again",
                       path.string());
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string task_text(const Task& task) {
  return "task-" + std::to_string(task.index) + "-of-" + std::to_string(task.count);
}

std::string owner_text(const Task& task) {
  return task_text(task) + "." + host_name() + "." + std::to_string(::getpid());
}

fs::path lock_path(const fs::path& cache, const std::string& name, const std::string& key) {
  return cache / ".locks" / (name + "-" + key);
}

Result<FileHandle> take_lock(const fs::path& path, const fs::path& stage, const std::stop_token& stop,
                             const Notice& notice) {
  FileHandle file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file) return file_error(path, "create the lock", errno);
  const auto locked = [&]() -> Result<bool> {
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK || errno == EINTR) return false;
    return file_error(path, "lock the file", errno);
  };
  CONCLAVE_RETURN_IF_ERROR(wait_until(locked, stop, notice, [&] {
    return "another process prepares the same data; waiting for it to finish " + stage.string();
  }));
  // For those who ask who it is; the lock does not need it.
  const std::string holder = "process " + std::to_string(::getpid()) + " on " + host_name();
  if (::ftruncate(file.get(), 0) == 0) (void)!::pwrite(file.get(), holder.data(), holder.size(), 0);
  return file;
}

Result<StageManifest> parse_manifest(const fs::path& directory, const std::string& text) {
  const fs::path path = directory / manifest_name;
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    const std::string digest = root.at("digest");
    root.erase("digest");
    if (Digest().text(root.dump()).hex() != digest) return damaged(path, "the manifest does not match its own digest");
    if (root.at("format") != format_version)
      return damaged(path, "the manifest has format " + root.at("format").dump() + ", this program reads " +
                               std::to_string(format_version));
    StageManifest manifest{root.at("stage"), root.at("key"), std::move(root.at("facts")), {}};
    for (const json& entry : root.at("files")) {
      FileEntry file{entry.at("name"), entry.at("bytes"), entry.at("digest")};
      std::error_code error;
      const auto size = fs::file_size(directory / file.name, error);
      if (error) return file_error(directory / file.name, "read the file's size", error.value());
      if (size != file.bytes)
        return damaged(directory / file.name, "the file has " + std::to_string(size) + " bytes, its manifest says " +
                                                  std::to_string(file.bytes));
      manifest.files.push_back(std::move(file));
    }
    return manifest;
  } catch (const json::exception&) {
    return damaged(path, "the manifest is not readable");
  }
}

/// Of what need not outlive a power cut; there already is no error.
Status make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directory(path, error);
  if (error) return file_error(path, "make the folder", error.value());
  return {};
}

Status remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error); // none is no error
  if (error) return file_error(path, "remove the unfinished or damaged folder", error.value());
  return {};
}

} // namespace

Status wait_until(const std::function<Result<bool>()>& ready, const std::stop_token& stop, const Notice& notice,
                  const std::function<std::string()>& what) {
  const auto since = std::chrono::steady_clock::now();
  bool told = false;
  for (auto poll = shortest_poll;; poll = std::min(2 * poll, longest_poll)) {
    CONCLAVE_ASSIGN(const bool now, ready());
    if (now) return {};
    if (stop.stop_requested()) return Error{Code::stopped, "", "stopped: " + what(), ""};
    if (!told && notice && std::chrono::steady_clock::now() - since >= silent_wait) {
      told = true;
      notice(what());
    }
    std::this_thread::sleep_for(poll);
  }
}

Result<StageManifest> read_stage_manifest(const fs::path& directory) {
  CONCLAVE_ASSIGN(const std::string text, read_file(directory / manifest_name));
  return parse_manifest(directory, text);
}

Result<std::optional<StageManifest>> find_stage_manifest(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory / manifest_name, error) && !error) return std::optional<StageManifest>();
  CONCLAVE_ASSIGN(const std::string text, read_file(directory / manifest_name));
  auto manifest = parse_manifest(directory, text);
  if (!manifest.ok()) return std::optional<StageManifest>(); // damaged: it will be made again
  return std::optional<StageManifest>(std::move(manifest).value());
}

Status commit_folder(const fs::path& directory, const fs::path& to, const StageManifest& manifest, Sync sync) {
  json root = {{"format", format_version},
               {"stage", manifest.name},
               {"key", manifest.key},
               {"facts", manifest.facts},
               {"files", json::array()}};
  for (const FileEntry& file : manifest.files)
    root["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}});
  root["digest"] = Digest().text(root.dump()).hex();
  CONCLAVE_RETURN_IF_ERROR(write_file(directory / manifest_name, root.dump(2) + "\n", Pages::keep, sync).status());
  if (sync == Sync::now) CONCLAVE_RETURN_IF_ERROR(sync_directory(directory));
  std::error_code error;
  fs::rename(directory, to, error);
  if (error == std::errc::directory_not_empty || error == std::errc::file_exists) {
    CONCLAVE_ASSIGN(const auto other, find_stage_manifest(to));
    if (other) return remove_folder(directory);
  }
  if (error) return file_error(directory, "rename the finished folder", error.value());
  return {};
}

Status verify_stage(const fs::path& directory) {
  CONCLAVE_ASSIGN(const StageManifest manifest, read_stage_manifest(directory));
  for (const FileEntry& file : manifest.files) {
    CONCLAVE_ASSIGN(const MappedFile content, MappedFile::open(directory / file.name));
    const auto bytes = content.bytes();
    if (Digest().bytes(bytes.data(), bytes.size()).hex() != file.digest)
      // Files of stages may be links to one another, so one folder is not enough.
      return storage_error(
          "the file's content does not match its digest",
          "remove the cache folder " + directory.parent_path().string() + "; prepare then makes it again",
          (directory / file.name).string());
  }
  return {};
}

Result<Stage> Stage::find(const fs::path& cache, const std::string& name, const std::string& key) {
  Stage stage;
  stage.cache_ = cache;
  stage.final_ = cache / (name + "-" + key);
  stage.partial_ = cache / (name + "-" + key + ".partial");
  stage.manifest_ = {name, key, {}, {}};
  CONCLAVE_RETURN_IF_ERROR(stage.refresh());
  return stage;
}

Status Stage::refresh() {
  if (complete_) return {};
  CONCLAVE_ASSIGN(auto found, find_stage_manifest(final_));
  if (!found) return {};
  complete_ = true;
  directory_ = final_;
  manifest_.facts = std::move(found->facts);
  manifest_.files = std::move(found->files);
  return {};
}

Status Stage::adopt() {
  CONCLAVE_RETURN_IF_ERROR(refresh());
  if (complete_) remove_partial();
  return {};
}

Result<Stage> Stage::open(const fs::path& cache, const std::string& name, const std::string& key,
                          const std::stop_token& stop, const Notice& notice, Task task) {
  CONCLAVE_ASSIGN(Stage stage, find(cache, name, key));
  stage.task_ = task;
  if (!stage.complete_ && task.alone()) {
    CONCLAVE_RETURN_IF_ERROR(make_directories(cache / ".locks"));
    CONCLAVE_ASSIGN(stage.lock_, take_lock(lock_path(cache, name, key), stage.final_, stop, notice));
    CONCLAVE_RETURN_IF_ERROR(stage.refresh()); // another process may have made it while this one waited
  }
  if (!stage.complete_) {
    Status ready = make_directories(cache);
    if (ready.ok()) ready = make_folder(stage.partial_);
    if (ready.ok()) ready = stage.clear_leftovers();
    CONCLAVE_RETURN_IF_ERROR(stage.refresh()); // another task may have finished it just now, and removed that folder
    if (!stage.complete_) CONCLAVE_RETURN_IF_ERROR(ready);
  }
  if (stage.complete_) {
    stage.lock_.reset();
    stage.remove_partial();
  } else if (task.alone()) {
    CONCLAVE_RETURN_IF_ERROR(stage.begin());
  }
  return stage;
}

void Stage::remove_partial() const noexcept {
  // Other tasks may be removing it, too, and then each of them fails over what the other has removed. What is left in the
  // end is in nobody's way.
  std::error_code ignored;
  for (int tries = 0; tries < 10 && fs::exists(partial_, ignored); ++tries) fs::remove_all(partial_, ignored);
}

Status Stage::begin() {
  CONCLAVE_RETURN_IF_ERROR(remove_folder(final_));
  directory_ = own("stage");
  return make_folder(directory_);
}

std::string Stage::claim_name(const std::string& what) { return what + std::string(claim_suffix); }

fs::path Stage::own(const std::string& what) const { return partial_ / (what + "." + owner_text(task_)); }

Result<bool> Stage::claim(const std::string& what) const {
  if (task_.alone()) return true;
  const fs::path link = partial_ / claim_name(what);
  if (::symlink(owner_text(task_).c_str(), link.c_str()) == 0) return true;
  // No folder: whoever finished the stage has removed it.
  if (errno == EEXIST || errno == ENOENT) return false;
  return file_error(link, "make the symbolic link", errno);
}

void Stage::release(const std::string& what) const noexcept {
  if (!task_.alone()) ::unlink((partial_ / claim_name(what)).c_str());
}

std::string Stage::claimed_by(const std::string& what) const {
  std::error_code none;
  return fs::read_symlink(partial_ / claim_name(what), none).string();
}

Status Stage::clear_leftovers() {
  std::error_code error;
  for (fs::directory_iterator at(partial_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool unit = name.find('.') == std::string::npos && name.starts_with("unit-");
    const bool mine =
        (name.ends_with(claim_suffix) ? claimed_by(name.substr(0, name.size() - claim_suffix.size())) + "."
                                      : name.substr(std::min(name.size(), name.find('.') + 1)))
            .starts_with(task_text(task_) + ".");
    // The lock of a process alone says that nobody writes here.
    if (!unit && (task_.alone() || mine)) CONCLAVE_RETURN_IF_ERROR(remove_folder(at->path()));
  }
  if (error) return file_error(partial_, "list the folder", error.value());
  return {};
}

std::optional<std::string> Stage::holder() const {
  const fs::path path = lock_path(cache_, manifest_.name, manifest_.key);
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  const auto text = read_file(path);
  return text.ok() && !text->empty() ? *text : "a process";
}

Status Stage::commit(std::vector<FileEntry> files, json facts) {
  manifest_.files = std::move(files);
  manifest_.facts = std::move(facts);
  CONCLAVE_RETURN_IF_ERROR(commit_folder(directory_, final_, manifest_));
  CONCLAVE_RETURN_IF_ERROR(sync_directory(cache_));
  directory_ = final_;
  complete_ = true;
  lock_.reset();
  remove_partial();
  return {};
}

} // namespace conclave::data
