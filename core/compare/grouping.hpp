// Grouping: which runs repeat one recipe, what sets the groups apart, and every setting that differs.
//
// Threading: functions without state.
#pragma once

#include <string>
#include <vector>

#include "compare/comparison.hpp"

namespace conclave::compare {

/// Groups in the order of their first runs; sets Run::group. Of several runs of a group with one seed the one that came
/// furthest counts, and the others are marked.
std::vector<Group> group_runs(std::vector<Run>& runs);

std::vector<Difference> find_differences(const std::vector<Run>& runs, const std::vector<Group>& groups);

/// "A", ..., "Z", "AA", ...
std::string letter_of(std::size_t index);

} // namespace conclave::compare
