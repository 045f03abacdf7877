// Folders whose entries last: a file's name survives a power cut only when its folder was synced too.
//
// Threading: functions without state.
#pragma once

#include <filesystem>

#include "conclave/status.hpp"

namespace conclave {

/// Makes the names in a folder durable. The empty path is the current folder.
Status sync_directory(const std::filesystem::path& path);

/// Makes `path` and the parents that are missing, and syncs the parent of each one made. None missing: does nothing.
Status make_directories(const std::filesystem::path& path);

} // namespace conclave
