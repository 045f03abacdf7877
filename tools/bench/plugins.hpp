// What the benchmarks of data plugins share: texts from a file, and a plugin of a library with options from the command line.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/testkit.hpp"

namespace conclave::bench {

/// Records of a 32-bit count and so many bytes.
inline std::vector<std::string> read_texts(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> texts;
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    std::uint32_t size = 0;
    std::memcpy(&size, bytes.data() + at, 4);
    texts.push_back(bytes.substr(at + 4, size));
    at += 4 + size;
  }
  return texts;
}

/// Plugin `id` of kind K from the library at `path`; `options` are OPTION=VALUE.
template <class K>
Result<std::shared_ptr<K>> make(HostContext& host, const char* path, const char* id, std::span<char*> options) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return invalid(dlerror());
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, plugin_entry_symbol));
  if (!entry) return invalid("it has no entry", {}, path);
  std::vector<Value::Member> with;
  for (const std::string_view option : options) {
    const std::size_t at = option.find('=');
    if (at == std::string_view::npos) return invalid("'" + std::string(option) + "' is no OPTION=VALUE");
    with.push_back({std::string(option.substr(0, at)), {}, Value::scalar(std::string(option.substr(at + 1)))});
  }
  return testkit::make<K>(testkit::descriptor_of(entry, id), host, Value::map(std::move(with)));
}

} // namespace conclave::bench
