// The option tables of how domains are mixed over a run: `data.weights`, `data.curriculum`, `data.fill_in_middle`.
//
// What this is not: checks against the rest of the experiment (cross_checks.hpp), or what comes of it (core/data).
#pragma once

#include "conclave/options.hpp"

namespace conclave {

OptionTable weights_table();        ///< of a WeightsSection
OptionSpec curriculum_spec();       ///< the list of stages in a DataSection
OptionTable fill_in_middle_table(); ///< of a FillInMiddleSection

} // namespace conclave
