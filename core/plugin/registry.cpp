// Discovery, fingerprints, probes and quarantine in one pass; loading on first use.

#include "plugin/registry.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "plugin/build_fingerprint.hpp"
#include "plugin/library.hpp"
#include "plugin/probe.hpp"
#include "plugin/sha256.hpp"

namespace conclave {
namespace {

/// What `<kind>-<name>.so` says it holds, for a library that could not be asked.
std::string id_from_name(const std::filesystem::path& file) {
  const std::string stem = file.stem().string();
  for (const std::string_view kind : plugin_kinds)
    if (stem.starts_with(std::string(kind) + "-")) return std::string(kind) + "/" + stem.substr(kind.size() + 1);
  return {};
}

std::string kind_of(std::string_view id) { return std::string(id.substr(0, id.find('/'))); }

} // namespace

struct PluginRegistry::Impl {
  /// One file of the plugin path.
  struct Library {
    std::filesystem::path file;
    BuildFingerprint fingerprint;
    std::string sha256;
    std::string warning; ///< of the fingerprint
    std::string problem; ///< why it is quarantined; "" when usable
    std::vector<ProbedPlugin> plugins;
    std::unique_ptr<const PluginDescriptors> descriptors; ///< null until loaded
  };

  Settings settings;
  std::vector<std::unique_ptr<Library>> libraries;
  struct Held {
    Library* library;
    const ProbedPlugin* plugin;
    std::string remark; // that an earlier holder is quarantined, or which later ones it hides
  };
  std::map<std::string, Held, std::less<>> usable; // by id; the first library on the path that holds it
  std::vector<PluginRow> rows;

  [[nodiscard]] const Held* held(std::string_view id) const {
    const auto found = usable.find(id);
    return found == usable.end() ? nullptr : &found->second;
  }

  void collect();
  void ask();
  void publish();
  void quarantine(Library& library, std::string problem);
  Status load(Library& library);
  [[nodiscard]] Error refuse(std::string_view id) const;
};

/// Finds the files and keeps those whose fingerprint fits.
void PluginRegistry::Impl::collect() {
  std::set<std::filesystem::path> seen; // one folder may be named twice
  for (const auto& folder : settings.path) {
    for (const auto& file : plugin_files(folder)) {
      std::error_code failed;
      auto canonical = std::filesystem::canonical(file, failed);
      if (failed) canonical = file;
      if (!seen.insert(canonical).second) continue;
      auto library = std::make_unique<Library>();
      library->file = std::move(canonical);
      if (const auto fingerprint = read_fingerprint(library->file); !fingerprint.ok()) {
        Error error = fingerprint.error();
        error.where.clear(); // the row names the file
        library->problem = error.render();
      } else {
        library->fingerprint = *fingerprint;
        const FingerprintVerdict verdict = compare_fingerprints(*fingerprint, host_fingerprint());
        (verdict.fits() ? library->warning : library->problem) = verdict.render();
      }
      libraries.push_back(std::move(library));
    }
  }
}

/// Learns what each fitting library holds: from the cache, else from a child process.
void PluginRegistry::Impl::ask() {
  const ProbeCache cache(settings.cache);
  std::vector<Library*> unknown;
  for (const auto& library : libraries) {
    if (!library->problem.empty()) continue;
    if (auto digest = sha256_file(library->file); digest.ok()) {
      library->sha256 = *digest;
    } else {
      library->problem = digest.error().what;
      continue;
    }
    std::optional<ProbeResult> known;
    if (!settings.rescan) known = cache.load(library->sha256);
    if (!known) {
      unknown.push_back(library.get());
      continue;
    }
    library->plugins = std::move(known->plugins);
    library->problem = std::move(known->problem);
    if (!library->problem.empty())
      library->problem += " (known from an earlier probe; `conclave plugins --rescan` tries again)";
  }
  std::vector<std::filesystem::path> files;
  for (const Library* library : unknown) files.push_back(library->file);
  std::vector<ProbeResult> answers = probe(settings.self, files, settings.probe_seconds);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    cache.store(unknown[i]->sha256, answers[i]);
    unknown[i]->plugins = std::move(answers[i].plugins);
    unknown[i]->problem = std::move(answers[i].problem);
  }
  for (const auto& library : libraries)
    for (const ProbedPlugin& plugin : library->plugins)
      if (library->problem.empty()) library->problem = missing_tensor_note(library->fingerprint, plugin.kind);
}

/// Makes the rows and the index of usable ids.
void PluginRegistry::Impl::publish() {
  rows.clear();
  usable.clear();
  std::map<std::string, std::string> passed_over; // by id: the first quarantined library that holds it
  for (const auto& library : libraries) {
    if (!library->problem.empty()) {
      std::vector<std::string> ids;
      for (const ProbedPlugin& plugin : library->plugins) ids.push_back(plugin.info.id);
      if (ids.empty()) ids.push_back(id_from_name(library->file));
      for (const std::string& id : ids) {
        rows.push_back({kind_of(id), id, {}, {}, {}, library->file, "quarantined", library->problem});
        passed_over.try_emplace(id, "passes over " + library->file.string() +
                                        ", earlier on the plugin path and quarantined: " + library->problem);
      }
      continue;
    }
    for (const ProbedPlugin& plugin : library->plugins) {
      const PluginInfo& info = plugin.info;
      PluginRow row{plugin.kind, info.id, info.version, info.summary, info.licence, library->file, "ok", {}};
      const auto earlier = passed_over.find(info.id);
      const std::string remark = earlier == passed_over.end() ? std::string() : earlier->second;
      const auto [taken, fresh] = usable.try_emplace(info.id, Held{library.get(), &plugin, remark});
      if (!fresh) {
        row.state = "shadowed";
        row.reason = "the id " + info.id + " is taken by " + taken->second.library->file.string() +
                     ", earlier on the plugin path";
        std::string& said = taken->second.remark;
        said += (said.empty() ? "" : "; ") + std::string("hides ") + library->file.string() +
                ", later on the plugin path, which holds this id, too";
      }
      rows.push_back(std::move(row));
    }
  }
  for (PluginRow& row : rows) { // now that all remarks are known
    if (row.state != "ok") continue;
    const Held& holder = usable.at(row.id);
    const std::string& warning = holder.library->warning;
    if (warning.empty() && holder.remark.empty()) continue;
    row.state = "warning";
    row.reason = warning + (warning.empty() || holder.remark.empty() ? "" : "; ") + holder.remark;
  }
  std::stable_sort(rows.begin(), rows.end(), [](const PluginRow& a, const PluginRow& b) {
    return std::tie(a.kind, a.id, a.file) < std::tie(b.kind, b.id, b.file);
  });
}

void PluginRegistry::Impl::quarantine(Library& library, std::string problem) {
  library.problem = std::move(problem);
  publish();
}

Status PluginRegistry::Impl::load(Library& library) {
  if (library.descriptors) return {};
  auto opened = open_library(library.file);
  if (!opened.ok()) {
    Error error = opened.error();
    Error row = error;
    row.where.clear();
    quarantine(library, row.render());
    error.code = Code::unsupported;
    return error;
  }
  library.descriptors = std::move(opened).value();
  return {};
}

Error PluginRegistry::Impl::refuse(std::string_view id) const {
  for (const PluginRow& row : rows)
    if (row.id == id && row.state == "quarantined")
      return unsupported("plugin " + row.id + " is quarantined: " + row.reason, {}, row.file.string());
  std::vector<std::string> known;
  for (const auto& [name, held] : usable) known.push_back(name);
  const std::string kind = kind_of(id);
  const std::string near = nearest_name(id, known);
  std::string fix;
  if (!near.empty()) fix = "did you mean " + near + "?";

  // What a library holds that could not be asked, nobody knows. One whose name says what it holds may still hold more.
  std::string suspects;
  for (const auto& library : libraries) {
    if (library->problem.empty() || !library->plugins.empty()) continue;
    if (!near.empty() && !id_from_name(library->file).empty()) continue;
    suspects += (suspects.empty() ? "" : "; ") + library->file.string() + ": " + library->problem;
  }
  if (!suspects.empty())
    return unsupported(
        "no plugin that fits is called " + std::string(id) + ", but it may stand in a quarantined library: " + suspects,
        fix.empty() ? "mend that library, or take it off the plugin path" : fix);

  if (fix.empty()) {
    for (const std::string& name : known)
      if (kind_of(name) == kind) fix += (fix.empty() ? "of its kind there are " : ", ") + name;
    if (fix.empty()) fix = "`conclave plugins` lists what was found";
    fix += ";";
  }
  fix += " CONCLAVE_PLUGIN_PATH adds folders";
  return invalid("no plugin is called " + std::string(id), std::move(fix));
}

PluginRegistry::PluginRegistry(Settings settings) : impl_(std::make_unique<Impl>()) {
  impl_->settings = std::move(settings);
}
PluginRegistry::~PluginRegistry() = default;

void PluginRegistry::scan() {
  impl_->usable.clear();
  impl_->rows.clear();
  impl_->libraries.clear();
  impl_->collect();
  impl_->ask();
  impl_->publish();
}

const std::vector<PluginRow>& PluginRegistry::rows() const { return impl_->rows; }

std::vector<std::string> PluginRegistry::ids(std::string_view kind) const {
  std::vector<std::string> ids;
  for (const auto& [id, held] : impl_->usable)
    if (kind.empty() || held.plugin->kind == kind) ids.push_back(id);
  return ids;
}

Result<const PluginDescriptor*> PluginRegistry::find(std::string_view id) {
  const Impl::Held* held = impl_->held(id);
  if (!held) return impl_->refuse(id);
  Impl::Library& library = *held->library;
  CONCLAVE_RETURN_IF_ERROR(impl_->load(library)); // on error `held` is gone: publish() has made a new index
  for (const PluginDescriptor& descriptor : *library.descriptors)
    if (descriptor.info.id == id) return &descriptor;
  impl_->quarantine(library, "held " + std::string(id) + " when it was probed and does not now");
  return impl_->refuse(id);
}

std::string PluginRegistry::remark(std::string_view id) const {
  const Impl::Held* held = impl_->held(id);
  return held ? held->remark : std::string();
}

std::string PluginRegistry::description_json(std::string_view id) const {
  const Impl::Held* held = impl_->held(id);
  return held ? held->plugin->json : std::string();
}

std::filesystem::path PluginRegistry::file_of(std::string_view id) const {
  const Impl::Held* held = impl_->held(id);
  return held ? held->library->file : std::filesystem::path();
}

std::string PluginRegistry::sha256_of(std::string_view id) const {
  const Impl::Held* held = impl_->held(id);
  return held ? held->library->sha256 : std::string();
}

std::vector<std::filesystem::path> plugin_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code failed;
  std::filesystem::directory_iterator at(folder, failed);
  for (const std::filesystem::directory_iterator end; !failed && at != end; at.increment(failed)) {
    std::error_code unreadable;
    if (at->path().extension() == ".so" && at->is_regular_file(unreadable)) files.push_back(at->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::filesystem::path> split_plugin_path(std::string_view text) {
  std::vector<std::filesystem::path> path;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(':'), text.size());
    if (end > 0) path.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return path;
}

std::vector<std::filesystem::path> missing_plugin_folders() {
  std::vector<std::filesystem::path> missing;
  const char* own = std::getenv("CONCLAVE_PLUGIN_PATH");
  for (const auto& folder : split_plugin_path(own ? own : "")) {
    std::error_code failed;
    if (!std::filesystem::is_directory(folder, failed)) missing.push_back(folder);
  }
  return missing;
}

std::vector<std::filesystem::path> default_plugin_path(const std::filesystem::path& executable) {
  std::vector<std::filesystem::path> path;
  if (const char* own = std::getenv("CONCLAVE_PLUGIN_PATH")) path = split_plugin_path(own);
  const std::filesystem::path prefix = executable.parent_path().parent_path(); // <prefix>/bin/conclave
  std::error_code failed;
  for (const char* place : {"plugins", "lib/conclave/plugins"})
    if (std::filesystem::is_directory(prefix / place, failed)) path.push_back(prefix / place);
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data) {
    path.push_back(std::filesystem::path(data) / "conclave/plugins");
  } else if (const char* home = std::getenv("HOME"); home && *home) {
    path.push_back(std::filesystem::path(home) / ".local/share/conclave/plugins");
  }
  return path;
}

} // namespace conclave
