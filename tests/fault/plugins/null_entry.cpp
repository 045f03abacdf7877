// An entry of its own that returns null.
#include "fault.hpp"
CONCLAVE_FINGERPRINT_NOTE()
extern "C" __attribute__((visibility("default"))) conclave::PluginDescriptors* conclave_plugin_entry() noexcept;
extern "C" conclave::PluginDescriptors* conclave_plugin_entry() noexcept { return nullptr; }
