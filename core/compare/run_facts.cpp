// record.json, exit.0.json and resolved.yaml of a run directory.

#include "compare/run_facts.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "config/compose.hpp"
#include "config/keys.hpp"
#include "config/yaml_reader.hpp"

namespace conclave::compare {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::int64_t known_schema = 1;
/// A run on another machine that wrote nothing for so long is taken for dead.
constexpr std::chrono::minutes silence{15};

std::optional<json> read_json(const fs::path& file) {
  std::ifstream in(file);
  if (!in) return std::nullopt;
  json parsed = json::parse(in, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) return json::object();
  return parsed;
}

// Members of the wrong type read as if they were missing.
std::string text_of(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}
double number_of(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}
std::int64_t integer_of(const json& object, const char* key) {
  return static_cast<std::int64_t>(number_of(object, key));
}
const json& part_of(const json& object, const char* key) {
  static const json nothing = json::object();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : nothing;
}

void read_settings(const json& record, RunFacts& facts) {
  const json& settings = part_of(record, "settings");
  if (!settings.is_object()) return;
  for (const auto& [key, entry] : settings.items()) {
    Experiment::Setting setting{text_of(entry, "value"), text_of(entry, "origin"), Affects::numerics};
    const std::string affects = text_of(entry, "affects");
    for (const Affects known : {Affects::selection, Affects::speed, Affects::io, Affects::naming})
      if (affects == conclave::to_string(known)) setting.affects = known;
    facts.settings.emplace(key, std::move(setting));
  }
}

// The comment behind a value of resolved.yaml: where it was written.
std::string origin_in(const std::vector<std::string>& lines, const Location& where) {
  const auto line = static_cast<std::size_t>(where.line);
  if (line == 0 || line > lines.size()) return {};
  const std::size_t comment = lines[line - 1].rfind("  # ");
  return comment == std::string::npos ? std::string{} : lines[line - 1].substr(comment + 4);
}

void flatten(const Value& value, const std::string& key, const std::vector<std::string>& lines, RunFacts& facts) {
  if (value.is_map() && !value.members().empty()) {
    for (const Value::Member& member : value.members()) flatten(member.value, join_key(key, member.key), lines, facts);
    return;
  }
  const bool blocks = value.is_list() && !value.items().empty() && value.items().front().is_map();
  if (blocks) {
    for (std::size_t i = 0; i < value.items().size(); ++i) {
      const std::string name = item_name(value.items()[i]);
      flatten(value.items()[i], join_key(key, name.empty() ? std::to_string(i) : name), lines, facts);
    }
    return;
  }
  std::string text = value.is_scalar() ? value.text() : value.is_map() ? "{}" : value.is_list() ? "[" : "null";
  if (value.is_list()) {
    for (const Value& item : value.items()) text += (text.size() > 1 ? ", " : "") + item.text();
    text += "]";
  }
  facts.settings[key] = {std::move(text), origin_in(lines, value.where()), Affects::numerics};
}

void read_resolved(const fs::path& file, RunFacts& facts) {
  facts.affects_known = false;
  std::ifstream in(file);
  if (!in) {
    facts.marks.emplace_back("its settings are not there: record.json has none and resolved.yaml is missing");
    return;
  }
  std::stringstream text;
  text << in.rdbuf();
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  Diagnostics diagnostics;
  const auto tree = parse_yaml(text.str(), file.string(), diagnostics);
  if (!tree || !tree->is_map() || diagnostics.has_errors()) {
    facts.marks.emplace_back("its settings cannot be read: resolved.yaml is damaged");
    return;
  }
  flatten(*tree, {}, lines, facts);
  facts.marks.emplace_back(
      "written by an older version: its settings come from resolved.yaml, and what they affect from other runs");
}

void read_attempts(const json& record, RunFacts& facts) {
  const json& attempts = part_of(record, "attempts");
  if (!attempts.is_array() || attempts.empty()) {
    facts.marks.emplace_back("record.json has no attempt");
    return;
  }
  facts.attempts = static_cast<std::int64_t>(attempts.size());
  for (const json& attempt : attempts)
    facts.peak_memory = std::max(facts.peak_memory, integer_of(part_of(attempt, "cost"), "peak_memory"));
  const json& last = attempts.back();
  const json& model = part_of(last, "model");
  facts.parameters = integer_of(model, "parameters");
  facts.active_parameters = integer_of(model, "active_parameters");
  facts.flops_per_token = number_of(model, "flops_per_token");
  facts.data_order = text_of(part_of(last, "data"), "order");
  facts.data_store = text_of(part_of(last, "data"), "store");
  const auto environment = [&facts](const std::string& key, const std::string& value) {
    if (!value.empty()) facts.environment[key] = value;
  };
  const json& machine = part_of(last, "machine");
  environment("device", text_of(last, "device"));
  environment("arithmetic", text_of(last, "arithmetic"));
  environment("cpu", text_of(machine, "cpu"));
  environment("host", text_of(machine, "host"));
  if (const std::int64_t ranks = integer_of(last, "ranks"); ranks > 0) environment("ranks", std::to_string(ranks));
  for (const auto& [key, value] : part_of(last, "versions").items())
    if (value.is_string()) environment("version of " + key, value.get<std::string>());
  for (const auto& [id, plugin] : part_of(last, "plugins").items())
    environment("build of " + id, text_of(plugin, "sha256").substr(0, 12));
  if (facts.attempts > 1) facts.marks.push_back("resumed " + std::to_string(facts.attempts - 1) + " x");
}

/// Whether a process of this machine holds the run's lock. Asked of the kernel's table, so that looking takes no lock.
bool is_locked(const fs::path& lock) {
  struct stat info {};
  if (::stat(lock.c_str(), &info) != 0) return false;
  char place[64];
  std::snprintf(place, sizeof place, "%02x:%02x:%llu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);)
    if (line.find("FLOCK") != std::string::npos && line.find(std::string(" ") + place + " ") != std::string::npos)
      return true;
  return false;
}

std::string this_host() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

/// Since the newest of the run's own files was written.
std::chrono::minutes age(const fs::path& directory) {
  auto newest = fs::file_time_type::min();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (const auto time = entry.last_write_time(error); !error) newest = std::max(newest, time);
  return std::chrono::duration_cast<std::chrono::minutes>(fs::file_time_type::clock::now() - newest);
}

void read_state(const std::optional<json>& exit, RunFacts& facts) {
  const bool ended = exit && exit->contains("code");
  if (ended) {
    const std::int64_t code = integer_of(*exit, "code");
    facts.end = text_of(*exit, "reason");
    facts.end_step = integer_of(*exit, "step");
    const std::int64_t steps = total_steps(facts);
    facts.state = code == 0 ? (steps == 0 || facts.end_step >= steps ? RunState::finished : RunState::stopped)
                  : code == exit_code(Code::stopped) || code == exit_code(Code::peer_lost) ? RunState::stopped
                                                                                           : RunState::failed;
    if (facts.state != RunState::finished)
      facts.marks.push_back(std::string(to_string(facts.state)) + " at step " + std::to_string(facts.end_step) +
                            (facts.end.empty() || facts.end == "done" ? "" : ": " + facts.end));
    return;
  }
  if (exit) facts.marks.emplace_back("exit.0.json is damaged");
  const auto host = facts.environment.find("host");
  const bool elsewhere = host != facts.environment.end() && host->second != this_host();
  const bool holds = is_locked(facts.path / ".lock");
  facts.state = holds || (elsewhere && age(facts.path) < silence) ? RunState::running : RunState::crashed;
  facts.marks.emplace_back(facts.state == RunState::running ? "still running"
                           : elsewhere ? "ended without a word on " + host->second + ", as far as its files tell"
                                       : "crashed: it ended without writing how");
}

} // namespace

const char* to_string(RunState state) noexcept {
  switch (state) {
    case RunState::finished: return "finished";
    case RunState::stopped: return "stopped";
    case RunState::running: return "running";
    case RunState::failed: return "failed";
    case RunState::crashed: return "crashed";
  }
  return "crashed";
}

std::int64_t total_steps(const RunFacts& facts) {
  const auto found = facts.settings.find("train.steps");
  std::int64_t steps = 0;
  if (found != facts.settings.end())
    std::from_chars(found->second.value.data(), found->second.value.data() + found->second.value.size(), steps);
  return steps;
}

Result<RunFacts> read_facts(const fs::path& directory) {
  const auto record = read_json(directory / "record.json");
  const auto exit = read_json(directory / "exit.0.json");
  std::error_code ignored;
  if (!record && !exit && !fs::exists(directory / "metrics.jsonl", ignored))
    return invalid("is no run directory: it has neither record.json nor metrics.jsonl",
                   "name a folder that `conclave run` wrote", directory.string());
  RunFacts facts;
  facts.path = directory;
  facts.name = fs::absolute(directory).lexically_normal().filename().string();
  if (facts.name.empty()) facts.name = fs::absolute(directory).lexically_normal().parent_path().filename().string();
  if (!record) facts.marks.emplace_back("record.json is missing");
  if (record && record->empty()) facts.marks.emplace_back("record.json is damaged");
  if (record && !record->empty()) {
    const std::int64_t schema = integer_of(*record, "schema");
    if (schema > known_schema)
      facts.marks.push_back("record.json has schema " + std::to_string(schema) + ", this program knows " +
                            std::to_string(known_schema) + ": what is new in it is left out");
    facts.config_hash = text_of(*record, "config_hash");
    facts.sweep = text_of(part_of(*record, "sweep"), "name");
    if (const std::string member = text_of(part_of(*record, "sweep"), "member"); !member.empty()) facts.name = member;
    read_settings(*record, facts);
    read_attempts(*record, facts);
  }
  if (facts.settings.empty()) read_resolved(directory / "resolved.yaml", facts);
  if (const auto seed = facts.settings.find("seed"); seed != facts.settings.end()) facts.seed = seed->second.value;
  read_state(exit, facts);
  return facts;
}

void complete_affects(std::vector<RunFacts*> runs) {
  for (RunFacts* run : runs) {
    if (run->affects_known) continue;
    for (auto& [key, setting] : run->settings)
      for (const RunFacts* other : runs) {
        if (!other->affects_known) continue;
        if (const auto found = other->settings.find(key); found != other->settings.end()) {
          setting.affects = found->second.affects;
          break;
        }
      }
  }
}

} // namespace conclave::compare
