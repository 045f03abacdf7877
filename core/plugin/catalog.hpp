// PluginCatalog: looking a plugin up by id, apart from how it was found and loaded.
//
// What this is: the part of PluginRegistry that configuration needs, so that tests bind experiments against descriptors
// made in the test. What this is not: discovery, loading or quarantine (registry.hpp).
//
// Threading: main thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conclave/plugin.hpp"

namespace conclave {

class PluginCatalog {
 public:
  PluginCatalog() = default;
  PluginCatalog(const PluginCatalog&) = delete;
  PluginCatalog& operator=(const PluginCatalog&) = delete;
  virtual ~PluginCatalog() = default;

  /// Ids of a kind ("" = all) that are usable, sorted.
  [[nodiscard]] virtual std::vector<std::string> ids(std::string_view kind) const = 0;

  /// The descriptor, which lives as long as the catalog. An unknown id gets a did-you-mean; one that does not fit, its
  /// reason and file.
  [[nodiscard]] virtual Result<const PluginDescriptor*> find(std::string_view id) = 0;

  /// What a user of a plugin that find() gave should hear: that another library of this id was passed over or is hidden. ""
  /// as a rule.
  [[nodiscard]] virtual std::string remark(std::string_view id) const {
    (void)id;
    return {};
  }
};

} // namespace conclave
