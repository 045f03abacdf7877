// Children first, then the plugin itself, every call under the guard.

#include "run/instantiate.hpp"

#include "plugin/guard.hpp"

namespace conclave {
namespace {

/// `file:line:col (kind/name)`, or the id where the block has no location.
std::string place_of(const PluginBlock& block) {
  const std::string where = block.where.render();
  return where.empty() ? block.id : where + " (" + block.id + ")";
}

Error located(Error error, const PluginBlock& block) {
  // An error that already names a place of its own (a file the plugin read) keeps it in its text.
  if (!error.where.empty() && error.where != block.id) error.what = error.where + ": " + error.what;
  error.where = place_of(block);
  return blame_library(std::move(error), block.descriptor->library);
}

/// An instance and the options it may still refer to.
struct Held {
  std::shared_ptr<void> options;
  std::shared_ptr<Plugin> plugin; // destroyed first

  Held(std::shared_ptr<void> o, std::shared_ptr<Plugin> p) : options(std::move(o)), plugin(std::move(p)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
};

} // namespace

Result<std::shared_ptr<Plugin>> instantiate_plugin(const PluginBlock& block, const HostContextFactory& contexts) {
  if (!block) return internal_error("an empty plugin block was to be made into an instance", block.key);
  const PluginDescriptor& descriptor = *block.descriptor;
  const char* id = descriptor.info.id.c_str();

  // A private copy: children are assigned into it, and one block may become an instance for each worker.
  auto copied = guard(id, "options", [&] { return descriptor.options.copy(block.options.get()); });
  if (!copied.ok()) return located(copied.error(), block);
  std::shared_ptr<void> options = std::move(copied).value();
  if (!options) return located(internal_error("its option table was not built by OptionTableBuilder", block.id), block);

  for (const PluginBlock::BoundChild& child : block.children) {
    CONCLAVE_ASSIGN(std::shared_ptr<Plugin> made, instantiate_plugin(child.block, contexts));
    const Status assigned = guard(id, "options", [&] { child.request.assign(options.get(), std::move(made)); });
    if (!assigned.ok()) return located(assigned.error(), block);
  }

  HostContext& host = contexts(block);
  auto made = guard(id, "create", [&] { return descriptor.create(host, options.get()); });
  if (!made.ok()) return located(made.error(), block);
  if (!*made) return located(internal_error("create() returned no instance", block.id), block);
  auto held = std::make_shared<Held>(std::move(options), std::move(made).value());
  Plugin* plugin = held->plugin.get();
  return std::shared_ptr<Plugin>(std::move(held), plugin);
}

} // namespace conclave
