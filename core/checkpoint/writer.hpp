// Writer: staged snapshots to a committed, verified checkpoint folder.
//
//   .tmp-step-00000020/   made by rank 0; each rank's files, synced and read back     -> renamed by rank 0
//   step-00000020/        then manifest.json.tmp, synced -> rename to manifest.json: now it exists
//
// Rank 0 renames when it has every rank's part of the manifest, so it is known before the commit that every byte is on the
// disk. What a rank has to say, its part or its error, goes to rank 0; what came of it goes to all.
//
// A folder that already holds a checkpoint of that step waits as `.old-step-00000020` until the new one is verified, and
// comes back when that fails; recover() does the same for a process that was killed in between. A checkpoint of a branch
// that was left by going back is called `superseded-<n>-step-00000020`, n counting the times.
//
// Threading: one thread at a time for a directory.
#pragma once

#include <chrono>
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

/// Waits for what rank 0 made; an error that speaks of shared file systems when it does not appear.
Status wait_until_shown(const std::filesystem::path& path, std::chrono::milliseconds within);

/// Writes, syncs, reads back and commits; of `settings` it uses directory, peers, shown_within, before_commit and warn.
/// `staged` may be an error, which the others must be told. On an error of any rank, also one of before_commit, nothing of
/// the new checkpoint is left and the directory is as it was. `warn` is told when a checkpoint that was replaced cannot be
/// removed: the new one is good. Collective when there are peers.
Result<CheckpointEntry> write_checkpoint(const Result<StagedSnapshot>& staged, std::int64_t step,
                                         const CheckpointStore::Settings& settings);

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
