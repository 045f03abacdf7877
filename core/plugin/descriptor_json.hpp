// describe_json(): a plugin's description as JSON: what a probe reports, the cache keeps and `plugins show --json` prints.
//
// What this is: one direction, descriptor to text. What this is not: JSON Schema (config/), or a way to rebuild an
// OptionTable; binding needs the loaded library.
//
// Threading: pure.
#pragma once

#include <string>

#include "conclave/plugin.hpp"

namespace conclave {

/// One JSON object: id kind version output_revision summary licence, and `options`, a list of objects with name type
/// element doc default required optional minimum maximum minimum_exclusive length choices deprecated_aliases kind affects
/// and `fields` (groups). Absent facts are left out. Text that is no UTF-8 is replaced, never refused.
std::string describe_json(const PluginDescriptor& descriptor);

} // namespace conclave
