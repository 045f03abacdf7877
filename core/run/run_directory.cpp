// The run directory's files.

#include "run/run_directory.hpp"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "conclave/build_info.hpp"

namespace conclave {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string utc_now(const char* format) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  std::strftime(text, sizeof text, format, &parts);
  return text;
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

json machine() {
  utsname name{};
  uname(&name);
  return {{"host", name.nodename},
          {"kernel", name.release},
          {"cpu", cpu_model()},
          {"cores", std::thread::hardware_concurrency()}};
}

void collect(const PluginBlock& block, std::set<std::string>& ids) {
  if (!block) return;
  ids.insert(block.id);
  for (const auto& child : block.children) collect(child.block, ids);
}

std::set<std::string> plugin_ids(const Experiment& e) {
  std::set<std::string> ids;
  for (const auto* block : {&e.model, &e.optimizer, &e.scheduler, &e.checkpoint, &e.data.tokenizer})
    collect(*block, ids);
  for (const auto& domain : e.data.domains) collect(domain.source, ids);
  for (const auto& block : e.data.filters) collect(block, ids);
  for (const auto& block : e.monitors) collect(block, ids);
  return ids;
}

Status errno_error(const fs::path& path, const char* doing) {
  const int code = errno;
  return storage_error(std::string(doing) + ": " + std::strerror(code),
                       code == ENOSPC ? "free space on that disk" : "check the path and its permissions",
                       path.string());
}

Status sync_path(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return errno_error(path, "cannot open");
  const int bad = fsync(fd);
  ::close(fd);
  return bad == 0 ? Status{} : errno_error(path, "cannot sync");
}

} // namespace

Status write_file_atomically(const fs::path& file, std::string_view content) {
  const fs::path temporary = file.string() + ".tmp";
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    if (!out) return errno_error(temporary, "cannot write");
  }
  CONCLAVE_RETURN_IF_ERROR(sync_path(temporary, O_RDONLY));
  if (::rename(temporary.c_str(), file.c_str()) != 0) return errno_error(file, "cannot rename into place");
  return sync_path(file.parent_path(), O_RDONLY | O_DIRECTORY);
}

Result<fs::path> latest_run_directory(const fs::path& root, const std::string& name) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    const std::string leaf = entry.path().filename().string();
    if (leaf.rfind(name + "-", 0) == 0 && fs::exists(entry.path() / "record.json", error))
      found.push_back(entry.path());
  }
  if (found.empty())
    return storage_error("no run of '" + name + "' to resume", "name one with --run-dir, or start without --resume",
                         root.string());
  // Names hold the UTC start; another experiment's name may extend this one's, so the newest record decides.
  return *std::max_element(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    return fs::last_write_time(a / "record.json") < fs::last_write_time(b / "record.json");
  });
}

RunDirectory::~RunDirectory() = default;

Result<std::unique_ptr<RunDirectory>> RunDirectory::open(const Experiment& experiment, const fs::path& chosen,
                                                         const fs::path& root, bool resume) {
  std::unique_ptr<RunDirectory> self(new RunDirectory());
  self->path_ =
      fs::absolute(chosen.empty()
                       ? root / (experiment.name + "-" + utc_now("%Y%m%dT%H%M%SZ") + "-" + experiment.hash.substr(0, 8))
                       : chosen)
          .lexically_normal();
  std::error_code error;
  fs::create_directories(self->checkpoints(), error);
  if (error || ::access(self->path_.c_str(), W_OK) != 0 || ::access(self->checkpoints().c_str(), W_OK) != 0)
    return storage_error("the run directory cannot be written" + (error ? ": " + error.message() : std::string()),
                         "choose another one with --run-dir", self->path_.string());
  CONCLAVE_ASSIGN(self->lock_, RunDirectoryLock::acquire(self->path_));
  if (!resume) {
    for (const auto& entry : fs::directory_iterator(self->checkpoints(), error))
      if (fs::exists(entry.path() / "manifest.json"))
        return storage_error("the run directory already holds checkpoints",
                             "add --resume to go on, or choose another --run-dir", self->path_.string());
  }
  std::ifstream record(self->path_ / "record.json");
  if (record) {
    const json parsed = json::parse(record, nullptr, false);
    if (parsed.is_object() && parsed.contains("attempts"))
      self->attempt_ = static_cast<std::int64_t>(parsed["attempts"].size());
  }
  return self;
}

Status RunDirectory::write_record(const Experiment& experiment, const PluginRegistry& registry,
                                  const AttemptRecord& attempt) {
  std::error_code error;
  const fs::path authored = path_ / "experiment";
  fs::create_directories(authored, error);
  const fs::path base = fs::path(experiment.files.front()).parent_path();
  for (const auto& file : experiment.files) {
    // Kept relative to the experiment where that stays inside; a base from elsewhere keeps its name.
    fs::path relative = fs::path(file).lexically_relative(base);
    if (relative.empty() || *relative.begin() == "..") relative = fs::path("extends") / fs::path(file).filename();
    fs::create_directories((authored / relative).parent_path(), error);
    fs::copy_file(file, authored / relative, fs::copy_options::overwrite_existing, error);
    if (error)
      return storage_error("cannot copy the experiment: " + error.message(), "check the disk",
                           (authored / relative).string());
  }
  CONCLAVE_RETURN_IF_ERROR(write_file_atomically(path_ / "resolved.yaml", experiment.resolved_yaml));

  json record;
  {
    std::ifstream in(path_ / "record.json");
    if (in) record = json::parse(in, nullptr, false);
    if (!record.is_object()) record = json::object();
  }
  record["schema"] = 1;
  record["name"] = experiment.name;
  record["config_hash"] = experiment.hash;
  record["config_hash_without_seed"] = experiment.hash_without_seed;
  record["versions"] = {{"conclave", CONCLAVE_BUILD_SDK_VERSION},
                        {"sdk", CONCLAVE_BUILD_SDK_HASH},
                        {"torch", CONCLAVE_BUILD_TORCH},
                        {"cuda", CONCLAVE_BUILD_CUDA},
                        {"compiler", __VERSION__}};
  record["plugins"] = json::object();
  for (const auto& id : plugin_ids(experiment))
    record["plugins"][id] = {{"file", registry.file_of(id).string()}, {"sha256", registry.sha256_of(id)}};
  json entry = {{"attempt", attempt_},      {"started", utc_now("%Y-%m-%dT%H:%M:%SZ")},
                {"pid", getpid()},          {"machine", machine()},
                {"device", attempt.device}, {"first_step", attempt.first_step}};
  if (!attempt.resumed_from.empty()) entry["resumed_from"] = attempt.resumed_from;
  if (!attempt.allowed_changes.empty()) entry["allowed_changes"] = attempt.allowed_changes;
  record["attempts"].push_back(std::move(entry));
  return write_file_atomically(path_ / "record.json", record.dump(2) + "\n");
}

Status RunDirectory::write_exit(int rank, int code, const std::string& reason, std::int64_t step) {
  const json entry = {{"code", code}, {"reason", reason}, {"step", step}, {"ended", utc_now("%Y-%m-%dT%H:%M:%SZ")}};
  return write_file_atomically(path_ / ("exit." + std::to_string(rank) + ".json"), entry.dump() + "\n");
}

} // namespace conclave
