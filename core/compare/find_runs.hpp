// find_runs(): from what a user names (directories, glob patterns, sweeps) to run directories.
//
// Threading: reentrant.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::compare {

/// Each name is a run directory, a folder of run directories, a glob pattern of either, or the name of a sweep with members
/// below `root`. The order is that of the names; within one, members of a sweep stand as the sweep has them, others by name. A directory
/// counts once. Code::invalid_argument for
/// a name that finds nothing, with what there is.
Result<std::vector<std::filesystem::path>> find_runs(const std::vector<std::string>& names,
                                                     const std::filesystem::path& root);

} // namespace conclave::compare
