// instantiate(): a bound block becomes a live plugin, children first.
#pragma once

#include <functional>
#include <memory>

#include "conclave/host.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// Gives the HostContext of an instance; the context must outlive the instance (the run owns both).
using HostContextFactory = std::function<HostContext&(const PluginBlock& block)>;

/// Every call is guarded; a factory that throws or fails gives an Error whose `where` is the block's location and id.
/// Binds children into a private copy of the options when the block is instantiated more than once (one filter a worker).
Result<std::shared_ptr<Plugin>> instantiate_plugin(const PluginBlock& block, const HostContextFactory& contexts);

template <class K>
Result<std::shared_ptr<K>> instantiate(const PluginBlock& block, const HostContextFactory& contexts) {
  auto made = instantiate_plugin(block, contexts);
  if (!made.ok()) return made.error();
  return std::static_pointer_cast<K>(std::move(made).value());
}

} // namespace conclave
