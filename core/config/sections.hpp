// The sections of an experiment as option tables: names, types, ranges, defaults and texts of everything that is not a
// plugin's.
//
// What this is: the host's half of what `conclave check`, the JSON Schema and the reference pages know; plugins bring the
// other half. Plugin blocks, domains and filters stand here by name and are bound in bind.cpp.
// What this is not: checks across sections (cross_checks.hpp).
#pragma once

#include <string>
#include <vector>

#include "conclave/options.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// The root of an experiment; its options object is an Experiment.
const OptionTable& experiment_table();
/// One domain of `data.domains`; its options object is a DomainSection.
const OptionTable& domain_table();

/// Keys of the data section, which `--set` may name without `data.`.
std::vector<std::string> data_keys();

} // namespace conclave
