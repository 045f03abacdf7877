// Plugin, PluginDescriptor and the one symbol that a plugin's shared library exports.
//
//   class MyFilter final : public conclave::Filter { ... };
//   CONCLAVE_PLUGINS(conclave::describe_plugin<MyFilter, MyOptions>({
//       .id = "filter/my-filter", .version = "1.0.0", .summary = "Drops ...", .licence = "MIT"}, my_table))
//
// What this is: how a library says what it holds and how the host makes instances. What this is not: the kinds
// themselves; each has a header of its own (source.hpp, filter.hpp, ...).
//
// Before opening a library the host reads its build fingerprint from the ELF note that this macro leaves in it, and
// refuses one that does not fit (fingerprint.hpp). A library is never unloaded. Static initialisers must do no work:
// no threads, no files, no torch or CUDA call.
//
// Threading: descriptors are immutable. `create` is called on the host's main thread, or on a worker thread where the
// kind's header says so. Exceptions thrown by `create` or by an instance are caught by the host and carry the plugin's id.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conclave/fingerprint.hpp"
#include "conclave/options.hpp"
#include "conclave/status.hpp"

namespace conclave {

class HostContext;

/// Base of every plugin interface. Its key function lives in libconclave_sdk, so there is one type identity.
class Plugin {
 public:
  Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;
  virtual ~Plugin();
};

/// What a plugin says of itself. All text is shown to users.
struct PluginInfo {
  std::string id;          ///< `kind/name`, name in lower case with dashes
  std::string version;     ///< of this plugin, e.g. "1.2.0"
  int output_revision = 1; ///< raise it when the same options and input give other output: caches key on it
  std::string summary;     ///< one sentence
  std::string licence;     ///< SPDX identifier
};

struct PluginDescriptor {
  PluginInfo info;
  std::string kind; ///< the part of the id before the slash; equals the interface's K::kind
  OptionTable options;
  /// Makes an instance from a bound options object of this table. The host outlives the instance.
  std::function<Result<std::shared_ptr<Plugin>>(HostContext& host, const void* options)> create;
  /// The library that holds it; the host fills it in after loading, for messages. Plugins leave it empty.
  std::string library;
};

using PluginDescriptors = std::vector<PluginDescriptor>;

/// Describes class P, constructed as P(HostContext&, const O&), or through `static Result<std::shared_ptr<P>>
/// make(HostContext&, const O&)` where construction can fail for a reason that a user can mend.
template <class P, class O>
PluginDescriptor describe_plugin(PluginInfo info, OptionTable table) {
  PluginDescriptor descriptor;
  descriptor.info = std::move(info);
  descriptor.kind = P::kind;
  descriptor.options = std::move(table);
  descriptor.create = [](HostContext& host, const void* options) -> Result<std::shared_ptr<Plugin>> {
    const O& typed = *static_cast<const O*>(options);
    if constexpr (requires { P::make(host, typed); }) {
      CONCLAVE_ASSIGN(auto made, P::make(host, typed));
      return std::shared_ptr<Plugin>(std::move(made));
    } else {
      return std::shared_ptr<Plugin>(std::make_shared<P>(host, typed));
    }
  };
  return descriptor;
}

/// The exported entry: returns a new list owned by the caller, or null. It must not throw; the macro sees to it.
using PluginEntry = PluginDescriptors* (*)() noexcept;
inline constexpr const char* plugin_entry_symbol = "conclave_plugin_entry";

/// Inside a catch block of the entry: keeps what was thrown, so that the host can say why the entry returned null.
void record_entry_failure() noexcept;
/// What this thread's last failed entry threw; "" when nothing was recorded. Reading it clears it.
std::string take_entry_failure();

} // namespace conclave

/// Defines the entry of a plugin library: the arguments are PluginDescriptor expressions. Use it once per library.
#define CONCLAVE_PLUGINS(...)                                                                                        \
  CONCLAVE_FINGERPRINT_NOTE()                                                                                        \
  extern "C" __attribute__((visibility("default"))) ::conclave::PluginDescriptors* conclave_plugin_entry() noexcept; \
  extern "C" ::conclave::PluginDescriptors* conclave_plugin_entry() noexcept {                                       \
    try {                                                                                                            \
      return std::make_unique<::conclave::PluginDescriptors>(::conclave::PluginDescriptors{__VA_ARGS__}).release();  \
    } catch (...) {                                                                                                  \
      ::conclave::record_entry_failure();                                                                            \
      return nullptr;                                                                                                \
    }                                                                                                                \
  }
