// The resolved form of a bound experiment: every value, its default filled in, with where it came from.
//
// What this is: Experiment::settings, resolved_yaml, hash and hash_without_seed. Two experiments that resolve to the same
// values have the same hash, however they were written. What this is not: part of binding; it reads what was bound.
#pragma once

#include "conclave/value.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// Fills the four members. False where a plugin's option table throws while it writes its values: `diagnostics` says whose.
bool resolve(Experiment& experiment, Diagnostics& diagnostics);

} // namespace conclave
