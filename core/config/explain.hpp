// Texts of `conclave config`: where a value came from, and how two experiments differ.
#pragma once

#include <optional>
#include <string>

#include "config/experiment.hpp"

namespace conclave {

/// The value of `key` (or of every key under it) with what each earlier layer said, oldest first; a key that does not
/// exist gives an error with a did-you-mean.
Result<std::string> explain_key(const Experiment& experiment, const std::string& key);

/// Settings that differ, grouped by what they affect, equal ones left out; "" when all are equal.
std::string diff_settings(const Experiment& a, const Experiment& b);

} // namespace conclave
