// Plugins for tests and benchmarks whose options stand in a JSON file that another program reads too.
#pragma once

#include <dlfcn.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "conclave/testkit.hpp"

namespace conclave::testing {

/// The JSON value as an experiment would have written it.
inline Value to_value(const nlohmann::json& json) {
  if (json.is_object()) {
    std::vector<Value::Member> members;
    for (const auto& [key, item] : json.items()) members.push_back({key, {}, to_value(item)});
    return Value::map(std::move(members));
  }
  if (json.is_array()) {
    std::vector<Value> items;
    for (const nlohmann::json& item : json) items.push_back(to_value(item));
    return Value::list(std::move(items));
  }
  return Value::scalar(json.is_string() ? json.get<std::string>() : json.dump());
}

/// A plugin from its library, as the host would load it; libraries are never unloaded. Throws std::runtime_error.
template <class K>
std::shared_ptr<K> load_plugin(const char* file, const char* id, const nlohmann::json& with) {
  static testkit::FakeHost host;
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, plugin_entry_symbol));
  auto made = testkit::make<K>(testkit::descriptor_of(entry, id), host, to_value(with));
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return *made;
}

} // namespace conclave::testing
