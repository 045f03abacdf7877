// diagnostic_of(): an Error that came out of a plugin, told where the experiment uses that plugin.
//
// What this is: the one way from an Error of a plugin (binding, rendering, making an instance) to a Diagnostic, so that the
// code of the reason, and with it the exit code, survives, and the text names the library. What this is not: for errors of
// the experiment itself, which the option tables locate.
//
// Threading: pure.
#pragma once

#include "conclave/value.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// Located at `block.where`. `key` is the dotted path of what is at fault; "" = the block's own. An error that is not the
/// experiment's (any code but invalid_argument) says which library the plugin stands in.
Diagnostic diagnostic_of(Error error, const PluginBlock& block, const std::string& key = {});

} // namespace conclave
