// The resolved form of a bound experiment: every value, its default filled in, with where it came from.
//
// What this is: Experiment::settings, resolved_yaml, hash and hash_without_seed. Two experiments that resolve to the same
// values have the same hash, however they were written. What this is not: part of binding; it reads what was bound.
#pragma once

#include "conclave/status.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// Fills the four members. An error only where a plugin's option table throws while it writes its values.
Status resolve(Experiment& experiment);

} // namespace conclave
