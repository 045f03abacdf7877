// JSON Schema (draft 2020-12) of an experiment with the plugins that are loaded: what makes an editor complete and check.
//
// The first line of an experiment names it for editors that run the YAML language server:
//   # yaml-language-server: $schema=conclave.schema.json
//
// What this is: made from the same option tables that bind an experiment, every object closed. It also accepts what only
// composition resolves: `${name}` for any value, and `null`. What this is not: the full check; arithmetic across options
// and the merging of layers are `conclave check`'s. A file that is only extended needs no required sections: the schema
// cannot know, so it asks for `conclave`, only.
#pragma once

#include <string>

#include "conclave/value.hpp"
#include "plugin/catalog.hpp"

namespace conclave {

/// JSON text, indented, ending in a newline. A plugin that cannot be loaded is left out with a warning.
std::string json_schema(PluginCatalog& catalog, Diagnostics& diagnostics);

} // namespace conclave
