// CheckpointStore: staging on the step thread, everything else on a writer thread that lives as long as one save.

#include "checkpoint/store.hpp"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>

#include "checkpoint/agreement.hpp"
#include "checkpoint/staging.hpp"
#include "checkpoint/writer.hpp"
#include "conclave/signal_mask.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"
#include "plugin/guard.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

/// `<step> <bytes> <folder's name>`, a line each: what the ranks tell each other of a directory.
std::string encode_entries(const std::vector<CheckpointEntry>& entries) {
  std::string text;
  for (const CheckpointEntry& entry : entries)
    text +=
        std::to_string(entry.step) + " " + std::to_string(entry.bytes) + " " + entry.path.filename().string() + "\n";
  return text;
}

std::vector<CheckpointEntry> decode_entries(const std::string& text, const fs::path& directory) {
  std::vector<CheckpointEntry> entries;
  std::istringstream lines(text);
  CheckpointEntry entry;
  for (std::string name; lines >> entry.step >> entry.bytes >> name; entries.push_back(entry))
    entry.path = directory / name;
  return entries;
}

/// Rank 0's list of a directory, on every rank. The key tells the writer thread's lists from the step thread's.
Result<std::vector<CheckpointEntry>> share_list(Peers* peers, const char* key, const fs::path& directory) {
  const Result<std::string> found = leads(peers) ? encode_entries(list_committed(directory)) : std::string();
  CONCLAVE_ASSIGN(const std::string text, share(peers, key, found));
  return decode_entries(text, directory);
}

class FolderStore final : public CheckpointStore {
 public:
  FolderStore(Settings settings, std::vector<CheckpointEntry> listed)
      : settings_(std::move(settings)),
        staging_(settings_.max_file_bytes, settings_.peers ? std::optional(settings_.peers->rank()) : std::nullopt),
        listed_(std::move(listed)) {}
  ~FolderStore() override {
    if (Status status = wait(); !status.ok()) warn(status.error());
  }

  Status save(Snapshot snapshot) override {
    Status earlier = wait();
    const std::int64_t step = snapshot.step;
    auto staged =
        contained("copying a snapshot", settings_.directory, [&] { return staging_.stage(std::move(snapshot)); });
    // With peers an error takes its way through the writer thread: all of them must hear of it.
    const bool go = staged.ok() || settings_.peers != nullptr;
    Status started = go ? start(std::move(staged), step) : staged.status();
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
    Result<std::string> moved = std::string();
    if (leads(settings_.peers))
      moved = contained("setting checkpoints aside", settings_.directory, [&]() -> Result<std::string> {
        CONCLAVE_ASSIGN(const auto entries, conclave::set_aside_after(step, settings_.directory));
        return encode_entries(entries);
      });
    const auto outcome = share(settings_.peers, "checkpoint/aside", moved);
    const Status listed = refresh_list("checkpoint/aside/list"); // also when only some could be moved
    if (!outcome.ok()) return outcome.error();
    CONCLAVE_RETURN_IF_ERROR(listed);
    return decode_entries(*outcome, settings_.directory);
  }

  [[nodiscard]] std::vector<CheckpointEntry> list() const override {
    if (!settings_.peers) return list_committed(settings_.directory);
    const std::lock_guard lock(listed_mutex_);
    return listed_;
  }

  Result<std::unique_ptr<CheckpointReader>> open_latest(
      const std::function<void(const Error&)>& warning) const override {
    return open_latest_checkpoint(settings_.directory, warning, settings_.peers);
  }

 private:
  void warn(const Error& error) const {
    if (settings_.warn) settings_.warn(error);
  }

  void join() {
    if (writer_.joinable()) writer_.join();
  }

  Status start(Result<StagedSnapshot> staged, std::int64_t step) {
    const SignalMask masked; // the thread inherits it, so no signal can reach it before it starts
    try {
      writer_ = std::thread([this, held = std::move(staged), step] { result_ = write(held, step); });
    } catch (const std::system_error& caught) {
      const Error error = unsupported(std::string("no thread can be started to write a checkpoint: ") + caught.what(),
                                      "raise the limit on processes (ulimit -u)", settings_.directory.string());
      if (!settings_.peers) return error;
      result_ = write(error, step);
    }
    return {};
  }

  // [writer thread]
  Status write(const Result<StagedSnapshot>& staged, std::int64_t step) {
    return contained("writing a checkpoint", settings_.directory, [&]() -> Status {
      CONCLAVE_ASSIGN(const CheckpointEntry entry, write_checkpoint(staged, step, settings_));
      const Status told = contained("writing a checkpoint", settings_.directory, [&]() -> Status {
        if (settings_.committed) settings_.committed(entry);
        if (leads(settings_.peers)) retire(entry.step);
        return {};
      });
      const Status listed = refresh_list("checkpoint/save/list");
      return told.ok() ? listed : told;
    });
  }

  // [either thread, the other one waiting] What list() gives with peers.
  Status refresh_list(const char* key) {
    if (!settings_.peers) return {};
    CONCLAVE_ASSIGN(auto entries, share_list(settings_.peers, key, settings_.directory));
    const std::lock_guard lock(listed_mutex_);
    listed_ = std::move(entries);
    return {};
  }

  // [writer thread] Old checkpoints go only now that the new one has been read back.
  void retire(std::int64_t newest) const {
    if (!settings_.policy) return;
    const std::vector<CheckpointEntry> entries = list_committed(settings_.directory);
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
  mutable std::mutex listed_mutex_;
  std::vector<CheckpointEntry> listed_; ///< with peers only
  std::thread writer_;
  Status result_; ///< of the writer thread; read after it was joined
};

/// Finds a read-only or full directory before the first step does.
Status check_writable(const fs::path& directory, const std::string& probe_name) {
  CONCLAVE_RETURN_IF_ERROR(make_directories(directory));
  std::error_code failed;
  const fs::path probe = directory / probe_name;
  fs::remove(probe, failed);
  const auto written = write_file(probe, "conclave\n");
  fs::remove(probe, failed);
  if (!written.ok()) return written.error();
  return {};
}

/// Rank 0 makes and tidies the directory and leaves a mark there; the others must see it and be able to write.
Status prepare_directory(const CheckpointStore::Settings& settings) {
  const std::string probe = probe_prefix + std::to_string(::getpid());
  Result<std::string> begun = std::string();
  if (leads(settings.peers))
    begun = contained("opening the checkpoint folder", settings.directory, [&]() -> Result<std::string> {
      CONCLAVE_RETURN_IF_ERROR(check_writable(settings.directory, probe));
      CONCLAVE_RETURN_IF_ERROR(recover(settings.directory, settings.warn));
      std::string mark = probe + "-shared";
      if (settings.peers) CONCLAVE_RETURN_IF_ERROR(write_file(settings.directory / mark, "conclave\n").status());
      return mark;
    });
  if (!settings.peers) return begun.status();
  CONCLAVE_ASSIGN(const std::string mark, share(settings.peers, "checkpoint/store/folder", begun));
  const Status own = contained("opening the checkpoint folder", settings.directory, [&]() -> Status {
    if (leads(settings.peers)) return {};
    CONCLAVE_RETURN_IF_ERROR(wait_until_shown(settings.directory / mark, settings.shown_within));
    return check_writable(settings.directory, probe + "-r" + std::to_string(settings.peers->rank()));
  });
  const Status all = agree(settings.peers, "checkpoint/store/writable", own);
  std::error_code ignored; // what is left of it goes with the next recovery
  if (leads(settings.peers)) fs::remove(settings.directory / mark, ignored);
  return all;
}

} // namespace

Result<std::unique_ptr<CheckpointStore>> open_checkpoint_store(CheckpointStore::Settings settings) {
  if (settings.peers && settings.peers->size() == 1) settings.peers = nullptr;
  CONCLAVE_RETURN_IF_ERROR(prepare_directory(settings));
  CONCLAVE_ASSIGN(auto listed, share_list(settings.peers, "checkpoint/store/list", settings.directory));
  return std::unique_ptr<CheckpointStore>(std::make_unique<FolderStore>(std::move(settings), std::move(listed)));
}

Result<std::unique_ptr<CheckpointReader>> open_latest_checkpoint(const fs::path& directory,
                                                                 const std::function<void(const Error&)>& warn,
                                                                 Peers* peers) {
  CONCLAVE_ASSIGN(const std::vector<CheckpointEntry> entries, share_list(peers, "checkpoint/open/list", directory));
  if (entries.empty())
    return storage_error("there is no checkpoint in this folder",
                         "name a folder that holds one; a run without --resume makes one", directory.string());
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    auto reader = open_checkpoint(entry->path, peers);
    if (reader.ok() || reader.error().code == Code::peer_lost) return reader;
    if (warn) warn(reader.error());
  }
  return storage_error("all " + std::to_string(entries.size()) + " checkpoints in this folder are damaged",
                       "start again, or resume from a copy", directory.string());
}

} // namespace conclave
