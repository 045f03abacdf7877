// PluginRegistry: every plugin library of the plugin path, its descriptors, and the ones that do not fit.
//
// What this is: discovery, fingerprint check, probe, loading and quarantine behind one object. It is the only global
// thing of the host, owned by main(). What this is not: a place that knows any plugin's name.
//
// Life of a library: found -> note read from the ELF file -> fingerprint compared -> probed once in a fresh child process
// (result cached by content hash) -> loaded on first use with RTLD_NOW | RTLD_LOCAL -> never unloaded. A library that
// fails any step is quarantined with a reason; the others still load.
//
// Threading: scan() and find() on the main thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/plugin.hpp"
#include "plugin/catalog.hpp"

namespace conclave {

/// One row of `conclave plugins`.
struct PluginRow {
  std::string kind, id, version, summary, licence;
  std::filesystem::path file;
  std::string state;  ///< "ok", "warning", "shadowed" (an earlier library holds the id) or "quarantined"
  std::string reason; ///< why, with both sides of a fingerprint mismatch and how to rebuild; "" when ok
};

class PluginRegistry final : public PluginCatalog {
 public:
  struct Settings {
    std::vector<std::filesystem::path> path; ///< searched in order, not recursively; the first of two equal ids wins
    std::filesystem::path cache;             ///< probe results; "" = no cache
    std::filesystem::path self;              ///< this executable, run again as `self --probe FILE`
    double probe_seconds = 10;               ///< for each library
    bool rescan = false;                     ///< probe again what the cache knows
  };
  explicit PluginRegistry(Settings settings);
  ~PluginRegistry() override;

  /// Reads notes and the probe cache; probes what is new. Never fails as a whole.
  void scan();
  [[nodiscard]] const std::vector<PluginRow>& rows() const;
  /// Ids of a kind ("" = all) that are usable.
  [[nodiscard]] std::vector<std::string> ids(std::string_view kind) const override;

  /// Loads the library on first use. A quarantined id gets its reason and file (Code::unsupported), also when only the
  /// file's name, `<kind>-<name>.so`, says what it holds. So does an id that nobody knows, while there are quarantined
  /// libraries that may hold it. Any other unknown id gets a did-you-mean (Code::invalid_argument).
  Result<const PluginDescriptor*> find(std::string_view id) override;
  /// That another library holds the id, too: an earlier one that is quarantined, or later ones that this one hides.
  [[nodiscard]] std::string remark(std::string_view id) const override;
  /// What the probe said of it (descriptor_json.hpp), without loading; "" for an unknown or quarantined id.
  [[nodiscard]] std::string description_json(std::string_view id) const;
  /// The library that holds the id, and its SHA-256, for record.json; find() must have succeeded.
  [[nodiscard]] std::filesystem::path file_of(std::string_view id) const;
  [[nodiscard]] std::string sha256_of(std::string_view id) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The plugin libraries (`*.so`) of a folder, sorted by name; none when there is no such folder.
std::vector<std::filesystem::path> plugin_files(const std::filesystem::path& folder);

/// The folders of a path whose parts are separated by colons; empty parts are left out.
std::vector<std::filesystem::path> split_plugin_path(std::string_view text);

/// The entries of `CONCLAVE_PLUGIN_PATH` that are no folders: searching them finds nothing, and a misspelt one looks so.
std::vector<std::filesystem::path> missing_plugin_folders();

/// `CONCLAVE_PLUGIN_PATH` (colon separated) first, then `<prefix>/plugins` or `<prefix>/lib/conclave/plugins` beside the
/// executable, then `<user data>/conclave/plugins`.
std::vector<std::filesystem::path> default_plugin_path(const std::filesystem::path& executable);

} // namespace conclave
