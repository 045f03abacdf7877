// A catalog of plugins made in the test (enough kinds and option types to bind an experiment like a real one), a folder
// for files, and the smallest experiment.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "conclave/plugin.hpp"
#include "plugin/catalog.hpp"

namespace conclave::testing {

class FakeCatalog final : public PluginCatalog {
 public:
  FakeCatalog();
  std::vector<std::string> ids(std::string_view kind) const override;
  Result<const PluginDescriptor*> find(std::string_view id) override; ///< optimizer/old is quarantined
  std::string remark(std::string_view id) const override;             ///< of optimizer/sgd

 private:
  void add(const std::string& id, OptionTable table);
  std::map<std::string, PluginDescriptor> descriptors_;
};

/// A folder of its own for each test, removed afterwards; files are written by name.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  /// The file's path; makes folders as needed.
  std::string write(const std::string& name, const std::string& text) const;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// `text` without the folder's path, so that messages can be compared whole.
std::string without_folder(std::string text, const Folder& folder);

/// The smallest experiment that binds; `extra` goes to the end.
std::string minimal(const std::string& extra = {});

} // namespace conclave::testing
