// Stage folders: lock, manifest, commit.

#include "data/stage.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "io/folders.hpp"

namespace conclave::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int format_version = 1;
constexpr const char* manifest_name = "manifest.json";
constexpr auto lock_poll = std::chrono::milliseconds(100);
constexpr auto silent_wait = std::chrono::seconds(1);

Error damaged(const fs::path& path, const std::string& what) {
  return storage_error(what, "remove the folder " + path.parent_path().string() + "; prepare then makes it again",
                       path.string());
}

using Notice = std::function<void(const std::string& text)>;

Result<FileHandle> take_lock(const fs::path& path, const fs::path& stage, const std::stop_token& stop,
                             const Notice& notice) {
  FileHandle file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file) return file_error(path, "create the lock", errno);
  const auto since = std::chrono::steady_clock::now();
  bool told = false;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return file_error(path, "lock the file", errno);
    if (stop.stop_requested())
      return Error{Code::stopped, path.string(), "stopped while another process prepares the same data", ""};
    if (!told && notice && std::chrono::steady_clock::now() - since >= silent_wait) {
      told = true;
      notice("another process prepares the same data; waiting for it to finish " + stage.string());
    }
    std::this_thread::sleep_for(lock_poll);
  }
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

} // namespace

Result<StageManifest> read_stage_manifest(const fs::path& directory) {
  CONCLAVE_ASSIGN(const std::string text, read_file(directory / manifest_name));
  return parse_manifest(directory, text);
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

Result<Stage> Stage::open(const fs::path& cache, const std::string& name, const std::string& key,
                          const std::stop_token& stop, const Notice& notice) {
  Stage stage;
  stage.cache_ = cache;
  stage.name_ = name;
  stage.key_ = key;
  stage.final_ = cache / (name + "-" + key);

  // Absent or damaged: false, it will be made (again). There but not to be read: an error, nothing is removed.
  const auto find = [&stage]() -> Result<bool> {
    std::error_code error;
    if (!fs::exists(stage.final_ / manifest_name, error) && !error) return false;
    CONCLAVE_ASSIGN(const std::string text, read_file(stage.final_ / manifest_name));
    auto manifest = parse_manifest(stage.final_, text);
    if (!manifest.ok()) return false;
    stage.complete_ = true;
    stage.directory_ = stage.final_;
    stage.facts_ = std::move(manifest->facts);
    stage.files_ = std::move(manifest->files);
    return true;
  };
  CONCLAVE_ASSIGN(bool found, find());
  if (found) return stage;

  CONCLAVE_RETURN_IF_ERROR(make_directories(cache / ".locks"));
  CONCLAVE_ASSIGN(stage.lock_, take_lock(cache / ".locks" / (name + "-" + key), stage.final_, stop, notice));
  CONCLAVE_ASSIGN(found, find());
  if (found) { // another process made it while this one waited
    stage.lock_.reset();
    return stage;
  }
  stage.directory_ = stage.final_;
  stage.directory_ += ".partial";
  for (const fs::path& leftover : {stage.final_, stage.directory_}) {
    std::error_code error;
    fs::remove_all(leftover, error); // none is no error
    if (error) return file_error(leftover, "remove the unfinished or damaged folder", error.value());
  }
  CONCLAVE_RETURN_IF_ERROR(make_directories(stage.directory_));
  return stage;
}

Status Stage::commit(std::vector<FileEntry> files, json facts) {
  json root = {{"format", format_version}, {"stage", name_}, {"key", key_}, {"facts", facts}, {"files", json::array()}};
  for (const FileEntry& file : files)
    root["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}});
  root["digest"] = Digest().text(root.dump()).hex();
  CONCLAVE_RETURN_IF_ERROR(write_file_atomically(directory_ / manifest_name, root.dump(2) + "\n"));
  std::error_code error;
  fs::rename(directory_, final_, error);
  if (error) return file_error(directory_, "rename the finished folder", error.value());
  CONCLAVE_RETURN_IF_ERROR(sync_directory(cache_));
  directory_ = final_;
  complete_ = true;
  files_ = std::move(files);
  facts_ = std::move(facts);
  lock_.reset();
  return {};
}

} // namespace conclave::data
