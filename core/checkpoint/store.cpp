// CheckpointStore: staging on the step thread, everything else on a writer thread that lives as long as one save.

#include "checkpoint/store.hpp"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <set>
#include <system_error>
#include <thread>

#include "checkpoint/staging.hpp"
#include "checkpoint/writer.hpp"
#include "conclave/signal_mask.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"
#include "plugin/guard.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

class FolderStore final : public CheckpointStore {
 public:
  explicit FolderStore(Settings settings) : settings_(std::move(settings)), staging_(settings_.max_file_bytes) {}
  ~FolderStore() override {
    if (Status status = wait(); !status.ok()) warn(status.error());
  }

  Status save(Snapshot snapshot) override {
    Status earlier = wait();
    auto staged = stage(std::move(snapshot));
    Status started = staged.ok() ? start(std::move(staged).value()) : staged.status();
    if (!started.ok()) {
      if (!earlier.ok()) warn(earlier.error());
      return started;
    }
    if (settings_.asynchronous) return earlier;
    return wait(); // nothing was under way before, so there is no earlier error
  }

  Status wait() override {
    join();
    return std::exchange(result_, Status{});
  }

  Result<std::vector<CheckpointEntry>> set_aside_after(std::int64_t step) override {
    join();
    return conclave::set_aside_after(step, settings_.directory);
  }

  [[nodiscard]] std::vector<CheckpointEntry> list() const override { return list_committed(settings_.directory); }

  Result<std::unique_ptr<CheckpointReader>> open_latest(
      const std::function<void(const Error&)>& warning) const override {
    return open_latest_checkpoint(settings_.directory, warning);
  }

 private:
  void warn(const Error& error) const {
    if (settings_.warn) settings_.warn(error);
  }

  void join() {
    if (writer_.joinable()) writer_.join();
  }

  Status start(StagedSnapshot staged) {
    const SignalMask masked; // the thread inherits it, so no signal can reach it before it starts
    try {
      writer_ = std::thread([this, held = std::move(staged)] { result_ = write(held); });
    } catch (const std::system_error& caught) {
      return unsupported(std::string("no thread can be started to write a checkpoint: ") + caught.what(),
                         "raise the limit on processes (ulimit -u)", settings_.directory.string());
    }
    return {};
  }

  /// The copies may fail in ways of the device's own.
  Result<StagedSnapshot> stage(Snapshot snapshot) {
    try {
      return staging_.stage(std::move(snapshot));
    } catch (const std::exception& caught) {
      return internal_error(std::string("copying a snapshot failed: ") + caught.what(), settings_.directory.string());
    }
  }

  // [writer thread]
  Status write(const StagedSnapshot& staged) const {
    try {
      CONCLAVE_ASSIGN(const CheckpointEntry entry,
                      write_checkpoint(staged, settings_.directory, settings_.before_commit, settings_.warn));
      if (settings_.committed) settings_.committed(entry);
      retire(entry.step);
      return {};
    } catch (const std::exception& caught) {
      return internal_error(std::string("writing a checkpoint failed: ") + caught.what(), settings_.directory.string());
    }
  }

  // [writer thread] Old checkpoints go only now that the new one has been read back.
  void retire(std::int64_t newest) const {
    if (!settings_.policy) return;
    const std::vector<CheckpointEntry> entries = list();
    std::vector<CheckpointInfo> infos;
    for (const CheckpointEntry& entry : entries) infos.push_back({entry.step, entry.bytes});
    const auto steps = guard(settings_.policy_id.c_str(), "retire", [&] { return settings_.policy->retire(infos); });
    if (!steps.ok()) return warn(steps.error());
    const std::set<std::int64_t> leaving(steps->begin(), steps->end());
    for (const CheckpointEntry& entry : entries) {
      if (!leaving.contains(entry.step)) continue;
      if (entry.step == newest) {
        warn(internal_error("retire() named the checkpoint that was just written; it stays", settings_.policy_id));
        continue;
      }
      if (Status status = remove_checkpoint(entry.path); !status.ok()) warn(status.error());
    }
  }

  Settings settings_;
  Staging staging_;
  std::thread writer_;
  Status result_; ///< of the writer thread; read after it was joined
};

/// Finds a read-only or full directory before the first step does.
Status check_writable(const fs::path& directory) {
  CONCLAVE_RETURN_IF_ERROR(make_directories(directory));
  std::error_code failed;
  const fs::path probe = directory / (std::string(probe_prefix) + std::to_string(::getpid()));
  fs::remove(probe, failed);
  const auto written = write_file(probe, "conclave\n");
  fs::remove(probe, failed);
  if (!written.ok()) return written.error();
  return {};
}

} // namespace

Result<std::unique_ptr<CheckpointStore>> open_checkpoint_store(CheckpointStore::Settings settings) {
  CONCLAVE_RETURN_IF_ERROR(check_writable(settings.directory));
  CONCLAVE_RETURN_IF_ERROR(recover(settings.directory, settings.warn));
  return std::unique_ptr<CheckpointStore>(std::make_unique<FolderStore>(std::move(settings)));
}

Result<std::unique_ptr<CheckpointReader>> open_latest_checkpoint(const fs::path& directory,
                                                                 const std::function<void(const Error&)>& warn) {
  std::vector<CheckpointEntry> entries = list_committed(directory);
  if (entries.empty())
    return storage_error("there is no checkpoint in this folder",
                         "name a folder that holds one; a run without --resume makes one", directory.string());
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    auto reader = open_checkpoint(entry->path);
    if (reader.ok()) return reader;
    if (warn) warn(reader.error());
  }
  return storage_error("all " + std::to_string(entries.size()) + " checkpoints in this folder are damaged",
                       "start again, or resume from a copy", directory.string());
}

} // namespace conclave
