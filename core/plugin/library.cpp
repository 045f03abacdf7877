// Opening a plugin library with Boost.DLL.

#include "plugin/library.hpp"

#include <dlfcn.h>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include <algorithm>
#include <set>

#include "plugin/guard.hpp"

namespace conclave {
namespace {

bool is_name(std::string_view name) {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.front() != '-' && name.back() != '-' && std::all_of(name.begin(), name.end(), good);
}

std::string known_kinds() {
  std::string text;
  for (const std::string_view kind : plugin_kinds) text += (text.empty() ? "" : ", ") + std::string(kind);
  return text;
}

} // namespace

std::string check_descriptor(const PluginDescriptor& descriptor) {
  const PluginInfo& info = descriptor.info;
  const std::string quoted = "'" + info.id + "'";
  const std::size_t slash = info.id.find('/');
  if (slash == std::string::npos || !is_name(std::string_view(info.id).substr(slash + 1)))
    return "the id " + quoted + " is not `kind/name` with a name of lower-case letters, digits and dashes";
  const std::string kind = info.id.substr(0, slash);
  if (std::find(plugin_kinds.begin(), plugin_kinds.end(), kind) == plugin_kinds.end())
    return "the id " + quoted + " names no kind that this host knows (" + known_kinds() + ")";
  if (descriptor.kind != kind) return "the id " + quoted + " says " + kind + ", but the class is a " + descriptor.kind;
  if (info.version.empty()) return quoted + " has no version";
  if (info.summary.empty()) return quoted + " has no summary";
  if (info.licence.empty()) return quoted + " has no licence";
  if (info.output_revision < 1) return quoted + " has an output_revision below 1";
  if (!descriptor.create) return quoted + " has no factory";
  const std::shared_ptr<void> options = descriptor.options.make();
  if (!options) return quoted + " has no option table: use OptionTableBuilder<Options>().build()";
  std::set<std::string> names;
  for (const OptionSpec& spec : descriptor.options.specs())
    if (!names.insert(spec.name).second) return quoted + " has two options called " + spec.name;
  (void)descriptor.options.render(options.get());
  return {};
}

Result<std::unique_ptr<const PluginDescriptors>> open_library(const std::filesystem::path& file,
                                                              bool* missing_dependency) {
  const std::string where = file.string();
  if (missing_dependency) *missing_dependency = false;
  // RTLD_NODELETE: neither the destructor below nor anything else unloads it; instances and types stay valid to the end.
  constexpr auto mode = static_cast<boost::dll::load_mode::type>(RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  boost::dll::shared_library library;
  const Status loaded = guard(where.c_str(), "dlopen", [&]() -> Status {
    std::error_code failed;
    library.load(std::filesystem::absolute(file), mode, failed);
    if (library.is_loaded()) return {};
    const char* reason = ::dlerror();
    if (missing_dependency) *missing_dependency = true;
    return unsupported("cannot be opened: " + (reason ? std::string(reason) : failed.message()),
                       "install the library it needs, or build the plugin again", where);
  });
  if (!loaded.ok()) return loaded.error();
  if (!library.has(plugin_entry_symbol))
    return unsupported(std::string("does not export ") + plugin_entry_symbol,
                       "use CONCLAVE_PLUGINS(...) in one of its sources", where);

  auto opened = guard(where.c_str(), "entry", [&]() -> Result<std::unique_ptr<const PluginDescriptors>> {
    const auto entry = reinterpret_cast<PluginEntry>(library.get<PluginDescriptors*() noexcept>(plugin_entry_symbol));
    std::unique_ptr<PluginDescriptors> descriptors(entry());
    if (!descriptors) {
      const std::string threw = take_entry_failure();
      return unsupported("its entry returned null" +
                             (threw.empty() ? std::string() : ": an option table or descriptor threw: " + threw),
                         {}, where);
    }
    if (descriptors->empty()) return unsupported("holds no plugin", {}, where);
    std::set<std::string> ids;
    for (PluginDescriptor& descriptor : *descriptors) {
      if (const std::string problem = check_descriptor(descriptor); !problem.empty())
        return unsupported(problem, {}, where);
      if (!ids.insert(descriptor.info.id).second)
        return unsupported("holds " + descriptor.info.id + " twice", {}, where);
      descriptor.library = where;
    }
    return std::unique_ptr<const PluginDescriptors>(std::move(descriptors));
  });
  return opened;
}

} // namespace conclave
