// RunDirectory: the folder that a run leaves behind.
//
//   experiment/      the authored files, as read
//   resolved.yaml    every value with its origin; re-runnable
//   record.json      schema 1: the settings with their origins; of a sweep its name, the member and its number; for each attempt:
//                    machine, versions, plugins with their hashes, layout, operators, the model's size, the data's order
//   data.json        schema 1: what the filters kept and dropped, by filter and domain
//   log.<rank>.txt   what was said
//   exit.<rank>.json {code, reason, step, attempt}: launchers hide child codes; absent while an attempt runs
//   metrics.jsonl, checkpoints/, event files: written by monitors and the checkpoint store
//
// Threading: main thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/mesh.hpp"
#include "conclave/status.hpp"
#include "config/experiment.hpp"
#include "data/report.hpp"
#include "plugin/registry.hpp"
#include "run/run_lock.hpp"
#include "run/step_record.hpp"

namespace conclave {

/// Facts of this start of the run for record.json.
struct AttemptRecord {
  std::int64_t first_step = 0;
  std::string device;
  std::string arithmetic;                                     ///< instruction set and threads
  std::vector<std::pair<std::string, std::string>> operators; ///< operator, implementation
  Mesh mesh;
  std::int64_t parameters = 0, active_parameters = 0;
  double flops_per_token = 0;                ///< of the model, forward and backward
  std::string data_order, data_store;        ///< digests: of the order of the batches, of the prepared data
  std::map<std::string, double> data_passes; ///< by domain: how often all steps of the run go over it
  std::string launcher;                      ///< who started the ranks
  std::string resumed_from;                  ///< checkpoint path; "" for a fresh start
  std::vector<std::pair<std::string, std::string>> allowed_changes; ///< key: "old -> new" under --allow-change
};

class RunDirectory {
 public:
  /// Makes `<root>/<name>-<UTC>-<hash>` or uses `chosen` (created when missing). Refuses a folder that cannot be written,
  /// one that another process holds, and one with checkpoints unless `resume`.
  static Result<std::unique_ptr<RunDirectory>> open(const Experiment& experiment, const std::filesystem::path& chosen,
                                                    const std::filesystem::path& root, bool resume);
  /// The folder that rank 0 opened, on another rank: no lock, and nothing is made.
  static std::unique_ptr<RunDirectory> join(const std::filesystem::path& path, std::int64_t attempt);
  ~RunDirectory();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  /// 0 for the first start, one more with each later one.
  [[nodiscard]] std::int64_t attempt() const { return attempt_; }

  /// Writes experiment/, resolved.yaml and this attempt's entry of record.json.
  Status write_record(const Experiment& experiment, const PluginRegistry& registry, const AttemptRecord& attempt);
  /// Adds to this attempt's entry what rank 0 sent in its steps, by group and collective, and its peak memory.
  Status write_cost(const SentByGroup& sent, std::int64_t steps, std::int64_t peak_memory);
  Status write_data_report(const data::PrepareReport& report);
  /// `step`: batches seen when it ended.
  Status write_exit(int rank, int code, const std::string& reason, std::int64_t step);

 private:
  RunDirectory() = default;
  std::filesystem::path path_;
  std::int64_t attempt_ = 0;
  std::optional<RunDirectoryLock> lock_;
};

/// SHA-256 of the library of each plugin that the experiment uses, by id.
std::map<std::string, std::string> plugin_hashes(const Experiment& experiment, const PluginRegistry& registry);

/// The newest `<root>/<name>-*` that has a record.json; an error when there is none.
Result<std::filesystem::path> latest_run_directory(const std::filesystem::path& root, const std::string& name);

} // namespace conclave
