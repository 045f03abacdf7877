// open_library(): dlopen a plugin, call its entry, and check what it says of itself.
//
// What this is: the one place that opens plugin libraries, in the host and in the probing child alike. What this is not:
// the decision whether to open; the registry compares fingerprints and probes first.
//
// Threading: main thread. A library is never unloaded (RTLD_NODELETE).
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "conclave/plugin.hpp"

namespace conclave {

/// The kinds of plugins that this host has a place for.
inline constexpr std::array<std::string_view, 8> plugin_kinds{"source",    "filter",    "tokenizer", "model",
                                                              "optimizer", "scheduler", "monitor",   "checkpoint"};

/// Why a descriptor cannot be used ("" when it can): the id must be `kind/name` with a known kind, version, summary and
/// licence must be there, the option table built, the factory set. Makes a default options object, which may throw.
std::string check_descriptor(const PluginDescriptor& descriptor);

/// The library's descriptors with `library` filled in, each checked, ids unique. Errors have the file as their place:
/// it cannot be opened, has no entry, the entry returned null, or a descriptor is bad.
/// `missing_dependency` (may be null) is set when dlopen itself failed: mending the machine can cure that.
Result<std::unique_ptr<const PluginDescriptors>> open_library(const std::filesystem::path& file,
                                                              bool* missing_dependency = nullptr);

} // namespace conclave
