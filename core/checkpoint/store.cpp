// CheckpointStore: staging on the step thread, everything else on a writer thread that lives as long as one save.

#include "checkpoint/store.hpp"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <set>
#include <system_error>
#include <thread>

#include "checkpoint/file_io.hpp"
#include "checkpoint/staging.hpp"
#include "checkpoint/writer.hpp"
#include "conclave/signal_mask.hpp"

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
    if (!staged.ok()) {
      if (!earlier.ok()) warn(earlier.error());
      return staged.error();
    }
    // The thread inherits the mask, so no signal can reach it before it starts.
    {
      const SignalMask masked;
      writer_ = std::thread([this, held = std::move(staged).value()] { result_ = write(held); });
    }
    if (settings_.asynchronous) return earlier;
    Status written = wait();
    return written.ok() ? earlier : written;
  }

  Status wait() override {
    if (writer_.joinable()) writer_.join();
    return std::exchange(result_, Status{});
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
      CONCLAVE_ASSIGN(const CheckpointEntry entry, write_checkpoint(staged, settings_.directory));
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
    std::vector<std::int64_t> steps;
    try {
      steps = settings_.policy->retire(infos);
    } catch (const std::exception& caught) {
      return warn(internal_error(std::string("retire() threw: ") + caught.what(), settings_.policy_id));
    } catch (...) {
      return warn(internal_error("retire() threw something that is no std::exception", settings_.policy_id));
    }
    const std::set<std::int64_t> leaving(steps.begin(), steps.end());
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
  std::error_code failed;
  fs::create_directories(directory, failed);
  if (failed) return file_error(directory, "make the checkpoint folder", failed.value());
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
    return storage_error("there is no checkpoint in this folder", "name another one, or start the run without --resume",
                         directory.string());
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    auto reader = open_checkpoint(entry->path);
    if (reader.ok()) return reader;
    if (warn) warn(reader.error());
  }
  return storage_error("all " + std::to_string(entries.size()) + " checkpoints in this folder are damaged",
                       "start again, or resume from a copy", directory.string());
}

} // namespace conclave
