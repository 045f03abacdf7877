// Errors of plugins as located diagnostics.

#include "config/block_diagnostic.hpp"

#include "plugin/guard.hpp"

namespace conclave {

Diagnostic diagnostic_of(Error error, const PluginBlock& block, const std::string& key) {
  const std::string library = block.descriptor != nullptr ? block.descriptor->library : std::string{};
  // instantiate() puts the block's location in front of the id, and the diagnostic has that already.
  const std::string place = block.where.render() + " (";
  if (error.where.starts_with(place) && error.where.ends_with(")"))
    error.where = error.where.substr(place.size(), error.where.size() - place.size() - 1);
  if (error.code != Code::invalid_argument && !library.empty()) {
    error = blame_library(std::move(error), library);
    if (error.render().find(library) == std::string::npos) error.what += " (in " + library + ")";
  }
  Diagnostic told;
  told.where = block.where;
  told.key = key.empty() ? block.key : key;
  told.what = error.where.empty() ? error.what : error.where + ": " + error.what;
  told.fix = error.fix;
  told.code = error.code;
  return told;
}

} // namespace conclave
