// Writer: a staged snapshot to a committed, verified checkpoint folder.
//
//   .tmp-step-00000020/   files, each synced            -> rename
//   step-00000020/        then manifest.json.tmp, synced -> rename to manifest.json: now it exists
//
// A folder that already holds a checkpoint of that step waits as `.old-step-00000020` until the new one is verified, and
// comes back when that fails; recover() does the same for a process that was killed in between. A checkpoint of a branch
// that was left by going back is called `superseded-<n>-step-00000020`, n counting the times.
//
// Threading: one thread at a time for a directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/staging.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// Files of this name only find out whether a directory can be written; recover() removes them.
inline constexpr const char* probe_prefix = ".probe-";

/// `step-00000020`.
std::string step_folder_name(std::int64_t step);
/// The step of such a name; nothing for another name.
std::optional<std::int64_t> step_of_folder(const std::string& name);

/// Writes, syncs, commits and reads everything back. `before_commit`, where given, is called with every byte synced and the
/// manifest not yet written. On an error, also one of `before_commit`, nothing of the new checkpoint is left and the
/// directory is as it was. `note` is told when a checkpoint that was replaced cannot be removed: the new one is good.
Result<CheckpointEntry> write_checkpoint(const StagedSnapshot& staged, const std::filesystem::path& directory,
                                         const std::function<Status(std::int64_t step)>& before_commit = {},
                                         const std::function<void(const Error&)>& note = {});

/// Removes one committed checkpoint: its manifest first, so that no moment shows half of one.
Status remove_checkpoint(const std::filesystem::path& folder);

/// Removes what interrupted saves left behind and brings back a replaced checkpoint whose successor was never committed.
/// `note` is told of each.
Status recover(const std::filesystem::path& directory, const std::function<void(const Error&)>& note);

/// Renames the committed checkpoints of steps after `step`, the newest first, to `superseded-<n>-step-...`, and syncs the
/// directory. Gives them by step under their new paths. Killed in between, some have the new name and the older ones still
/// the old one; the next call takes these, with a number of its own.
Result<std::vector<CheckpointEntry>> set_aside_after(std::int64_t step, const std::filesystem::path& directory);

/// Committed checkpoints of a directory by step, without those set aside; a missing directory holds none.
std::vector<CheckpointEntry> list_committed(const std::filesystem::path& directory);

} // namespace conclave
