// The run directory's files.

#include "run/run_directory.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "conclave/build_info.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"

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

json layout(const Mesh& mesh) {
  json sizes = json::object();
  for (const MeshDim dim :
       {MeshDim::pipeline, MeshDim::data, MeshDim::context, MeshDim::tensor, MeshDim::expert_data, MeshDim::expert})
    sizes[to_string(dim)] = mesh.size(dim);
  return sizes;
}

/// Paths and errors may hold bytes that are no UTF-8; a record with a substitute is better than none.
std::string to_text(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace) + "\n";
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

std::set<std::string> used_plugins(const Experiment& e) {
  std::set<std::string> ids;
  for (const auto* block : {&e.model, &e.optimizer, &e.scheduler, &e.checkpoint, &e.data.tokenizer})
    collect(*block, ids);
  for (const auto& domain : e.data.domains) collect(domain.source, ids);
  for (const auto& block : e.data.filters) collect(block, ids);
  for (const auto& block : e.monitors) collect(block, ids);
  return ids;
}

} // namespace

std::map<std::string, std::string> plugin_hashes(const Experiment& experiment, const PluginRegistry& registry) {
  std::map<std::string, std::string> hashes;
  for (const std::string& id : used_plugins(experiment)) hashes[id] = registry.sha256_of(id);
  return hashes;
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
  const Status made = make_directories(self->checkpoints());
  if (!made.ok() || ::access(self->path_.c_str(), W_OK) != 0 || ::access(self->checkpoints().c_str(), W_OK) != 0)
    return storage_error("the run directory cannot be written" + (made.ok() ? std::string() : ": " + made.error().what),
                         "choose another one with --run-dir", self->path_.string());
  CONCLAVE_ASSIGN(self->lock_, RunDirectoryLock::acquire(self->path_));
  std::error_code ignored;
  if (!resume) {
    for (const auto& entry : fs::directory_iterator(self->checkpoints(), ignored))
      if (fs::exists(entry.path() / "manifest.json"))
        return storage_error("the run directory already holds checkpoints",
                             "add --resume to go on, or choose another --run-dir", self->path_.string());
  }
  fs::remove(self->path_ / "exit.0.json", ignored); // of the attempt before
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
    const fs::path copy = authored / relative;
    fs::create_directories(copy.parent_path(), error);
    if (std::error_code absent; fs::equivalent(file, copy, absent)) continue; // started from the copy itself
    fs::copy_file(file, copy, fs::copy_options::overwrite_existing, error);
    if (error) return storage_error("cannot copy the experiment: " + error.message(), "check the disk", copy.string());
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
  json settings = json::object();
  for (const auto& [key, setting] : experiment.settings)
    settings[key] = {{"value", setting.value}, {"origin", setting.origin}, {"affects", to_string(setting.affects)}};
  record["settings"] = std::move(settings);
  for (std::size_t i = 0; i < experiment.sweep.size(); ++i)
    if (experiment.sweep[i].name == experiment.member)
      record["sweep"] = {{"name", experiment.name}, {"member", experiment.member}, {"index", i}};
  json plugins = json::object();
  for (const auto& [id, sha256] : plugin_hashes(experiment, registry))
    plugins[id] = {{"file", registry.file_of(id).string()}, {"sha256", sha256}};
  json entry = {{"attempt", attempt_},
                {"started", utc_now("%Y-%m-%dT%H:%M:%SZ")},
                {"pid", getpid()},
                {"machine", machine()},
                {"device", attempt.device},
                {"arithmetic", attempt.arithmetic},
                {"layout", layout(attempt.mesh)},
                {"ranks", attempt.mesh.world_size()},
                {"launcher", attempt.launcher},
                {"operators", attempt.operators},
                {"versions",
                 {{"conclave", CONCLAVE_BUILD_SDK_VERSION},
                  {"sdk", CONCLAVE_BUILD_SDK_HASH},
                  {"torch", CONCLAVE_BUILD_TORCH},
                  {"cuda", CONCLAVE_BUILD_CUDA},
                  {"compiler", __VERSION__}}},
                {"plugins", std::move(plugins)},
                {"model",
                 {{"parameters", attempt.parameters},
                  {"active_parameters", attempt.active_parameters},
                  {"flops_per_token", attempt.flops_per_token}}},
                {"data", {{"order", attempt.data_order}, {"store", attempt.data_store}}},
                {"first_step", attempt.first_step}};
  entry["data"]["passes"] = attempt.data_passes;
  if (!attempt.resumed_from.empty()) entry["resumed_from"] = attempt.resumed_from;
  if (!attempt.allowed_changes.empty()) entry["allowed_changes"] = attempt.allowed_changes;
  record["attempts"].push_back(std::move(entry));
  return write_file_atomically(path_ / "record.json", to_text(record, 2));
}

std::unique_ptr<RunDirectory> RunDirectory::join(const fs::path& path, std::int64_t attempt) {
  std::unique_ptr<RunDirectory> self(new RunDirectory());
  self->path_ = path;
  self->attempt_ = attempt;
  return self;
}

Status RunDirectory::write_cost(const SentByGroup& sent, std::int64_t steps, std::int64_t peak_memory) {
  json record;
  {
    std::ifstream in(path_ / "record.json");
    record = json::parse(in, nullptr, false);
  }
  if (!record.is_object() || !record["attempts"].is_array() || record["attempts"].empty())
    return storage_error("record.json was changed while the run went on", "", path_.string());
  json groups = json::object();
  for (const auto& [group, traffic] : sent)
    for (std::size_t kind = 0; kind < collective_count; ++kind)
      if (traffic.calls[kind] > 0)
        groups[group][to_string(static_cast<Collective>(kind))] = {{"calls", traffic.calls[kind]},
                                                                   {"bytes", traffic.bytes[kind]}};
  record["attempts"].back()["cost"] = {{"steps", steps}, {"sent", std::move(groups)}, {"peak_memory", peak_memory}};
  return write_file_atomically(path_ / "record.json", to_text(record, 2));
}

Status RunDirectory::write_data_report(const data::PrepareReport& report) {
  return write_file_atomically(path_ / "data.json", to_json(report));
}

Status RunDirectory::write_exit(int rank, int code, const std::string& reason, std::int64_t step) {
  const json entry = {{"code", code},
                      {"reason", reason},
                      {"step", step},
                      {"attempt", attempt_},
                      {"ended", utc_now("%Y-%m-%dT%H:%M:%SZ")}};
  return write_file_atomically(path_ / ("exit." + std::to_string(rank) + ".json"), to_text(entry, -1));
}

} // namespace conclave
