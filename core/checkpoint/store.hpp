// CheckpointStore: checkpoints of one run directory, from snapshot to commit, and back.
//
// A checkpoint is a folder `step-00000020/` of safetensors files and a manifest.json that names every file with size and
// checksum. It exists only when the manifest does: files are written under a temporary name, synced, the folder renamed,
// the manifest last. Nothing is ever unpickled, and every byte is checked on load.
//
// Many ranks make one checkpoint: each writes its own shards into the one folder, which a shared file system shows to all,
// and reads them back; rank 0 merges what they say of them and commits. Opening is shared likewise: each rank verifies a
// part of the files. With Settings::peers (or a `peers` argument) the calls marked "collective" are made by every rank in
// the same order and have the same outcome on all; the error of one rank fails the call on all and names it.
//
// Threading: one thread calls a store, the step thread; writing happens on one background thread. save(), wait(),
// set_aside_after() and the destructor join it. With peers that thread waits for the other ranks' threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/peers.hpp"
#include "conclave/checkpoint_policy.hpp"
#include "conclave/stateful.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// A tensor, or one box of it, under its global name. Several shards may share a name and make up the whole.
struct TensorShard {
  std::string name; ///< e.g. `model.embed_tokens.weight` or `optimizer/exp_avg/<parameter>`
  std::vector<std::int64_t> global_shape;
  std::vector<std::int64_t> offset; ///< of this box in the global tensor
  at::Tensor value;                 ///< the box; any device, any stride
};

/// What one rank has to save. With peers the shards of all ranks make up the tensors, each element from one rank, and all
/// but step and tensors is taken from rank 0 and ignored elsewhere.
struct Snapshot {
  std::int64_t step = 0; ///< batches seen
  std::vector<TensorShard> tensors;
  std::map<std::string, StateMap> states; ///< by owner: "host", or a plugin instance's name
  std::string meta_json; ///< object: config hash, settings, plan digest, plugin ids and hashes, versions
  std::map<std::string, std::string> files; ///< small extra files by relative name (tokenizer, resolved.yaml)
};

struct CheckpointEntry {
  std::int64_t step = 0;
  std::filesystem::path path;
  std::int64_t bytes = 0;
};

/// An opened checkpoint whose manifest and files have been checked.
class CheckpointReader {
 public:
  virtual ~CheckpointReader() = default;
  [[nodiscard]] virtual std::int64_t step() const = 0;
  [[nodiscard]] virtual const std::string& meta_json() const = 0;
  [[nodiscard]] virtual const std::map<std::string, StateMap>& states() const = 0;
  [[nodiscard]] virtual std::vector<std::string> tensor_names() const = 0;
  [[nodiscard]] virtual Result<std::vector<std::int64_t>> shape(const std::string& name) const = 0;
  [[nodiscard]] virtual Result<at::ScalarType> dtype(const std::string& name) const = 0;
  /// Copies a box of the global tensor into `out` (its shape is the box's; converted to its type), reading only the bytes
  /// it needs.
  virtual Status read(const std::string& name, const std::vector<std::int64_t>& offset, at::Tensor out) const = 0;
  [[nodiscard]] virtual Result<std::string> file(const std::string& name) const = 0;
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
};

class CheckpointStore {
 public:
  struct Settings {
    std::filesystem::path directory; ///< `<run>/checkpoints`; with peers the same folder for all
    /// The ranks that save together; outlives the store. Null: one rank.
    Peers* peers = nullptr;
    /// How long a rank waits for a folder that rank 0 made: a network file system may show it late.
    std::chrono::milliseconds shown_within{30'000};
    bool asynchronous = true;
    std::shared_ptr<const CheckpointPolicy> policy; ///< what to retire; null keeps all
    std::string policy_id;
    /// Called on the writer thread with the step, after every byte of the checkpoint is synced and before its manifest is
    /// written: what must not be behind a checkpoint is made durable here. An error fails the save. Rank 0 only. May be
    /// empty.
    std::function<Status(std::int64_t step)> before_commit;
    /// Called on the writer thread after commit and verification, on every rank. May be empty.
    std::function<void(const CheckpointEntry&)> committed;
    /// Called on the writer thread, and while opening, about what does not fail the save: a leftover that was removed, an
    /// old checkpoint that could not be. May be empty.
    std::function<void(const Error&)> warn;
    /// Tensors of one file; a larger tensor gets a file of its own.
    std::int64_t max_file_bytes = std::int64_t{1} << 30;
  };
  virtual ~CheckpointStore() = default;

  /// Copies the snapshot's tensors to host memory before it returns (the caller may change them afterwards), then writes in
  /// the background. Waits for an earlier save that is still writing.
  ///   ok                            the new save is under way and the earlier one is committed
  ///   an error of the earlier save  the new save is under way all the same; its own error comes with the next call
  ///   an error of the new save      it could not be copied or started and nothing is under way; an error of the earlier
  ///                                 save then goes to `warn`
  /// Not asynchronous: commits before it returns, and gives its own error.
  /// Collective. With peers an error of the new save, on whatever rank, comes to all with the next call.
  virtual Status save(Snapshot snapshot) = 0;
  /// Until nothing is being written; returns the error of the last save, once.
  virtual Status wait() = 0;
  /// Going back to the checkpoint of `step`: those of later steps get a name under which list(), open_latest() and the
  /// policy do not see them any more and open_checkpoint() still opens them (`superseded-<n>-step-00000020`). Nothing is
  /// removed. Waits for a save that is still writing and leaves its error to the next call. Gives what was moved, by step,
  /// under the new paths. Without it the checkpoints of the branch that is left would count as the newest. Collective.
  virtual Result<std::vector<CheckpointEntry>> set_aside_after(std::int64_t step) = 0;
  /// Committed checkpoints by step, without reading their data and without those set aside. With peers: what rank 0 found
  /// when the last collective call (or the save that it began) ended, so all ranks see the same unless a save is under way.
  [[nodiscard]] virtual std::vector<CheckpointEntry> list() const = 0;
  /// The newest one that passes every check; damaged ones are named through `warn` and skipped. No good one: Code::storage.
  /// Collective: all ranks open the same one. Waits for no save.
  virtual Result<std::unique_ptr<CheckpointReader>> open_latest(
      const std::function<void(const Error&)>& warn) const = 0;
};

/// Removes leftovers of interrupted saves. Refuses a directory that cannot be written, or that a rank does not share. One
/// store (with peers: one a rank) at a time for a directory: the run's lock (run/run_lock.hpp) sees to it. Collective.
Result<std::unique_ptr<CheckpointStore>> open_checkpoint_store(CheckpointStore::Settings settings);
/// For readers of a directory that another process may be writing: changes nothing in it. As CheckpointStore::open_latest.
/// Collective when there are peers.
Result<std::unique_ptr<CheckpointReader>> open_latest_checkpoint(const std::filesystem::path& directory,
                                                                 const std::function<void(const Error&)>& warn,
                                                                 Peers* peers = nullptr);
/// Opens one checkpoint folder and verifies it whole; a missing, truncated or altered file is named. Collective when there
/// are peers: the ranks share the verifying, and a reader is good when all files are; reading from it is not collective.
Result<std::unique_ptr<CheckpointReader>> open_checkpoint(const std::filesystem::path& path, Peers* peers = nullptr);

} // namespace conclave
