// Checks that span sections of an experiment, with the arithmetic in the message.
//
// What this is: what is wrong whatever the plugins say. What this is not: advice (advice.hpp), or checks inside one
// section, which stand in its option table (sections.cpp).
#pragma once

#include "conclave/value.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// `tree` is the composed tree, for locations.
void check_across_sections(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics);

} // namespace conclave
