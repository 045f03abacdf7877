// StepRecord: the exact numbers of a run's steps, one JSON object a line, for `conclave verify` to compare.
//
// Unlike metrics.jsonl this is no monitor's: numbers are written with all their digits, and the last line says what the rank
// sent and how much memory it had. Written by rank 0 with `run --step-record FILE`.
//
//   {"step": 1, "loss": .., "nll": .., "grad_norm": .., "applied": true, "counters": [[layer, [..]], ..]}
//   {"sent": {"<group>": {"<collective>": {"calls": n, "bytes": b}}}, "peak_memory": bytes}
//
// Threading: the step thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "conclave/parallel/group.hpp"
#include "conclave/status.hpp"
#include "train/step_engine.hpp"

namespace conclave {

/// What one rank sent, by group.
using SentByGroup = std::map<std::string, Traffic>;
SentByGroup sent_by_group(const Groups* groups);

struct RecordedStep {
  std::int64_t step = 0;
  double loss = 0, nll = 0, grad_norm = 0;
  bool applied = true;
  std::vector<std::pair<int, std::vector<double>>> counters; ///< by layer
};

struct StepRecord {
  std::vector<RecordedStep> steps;
  SentByGroup sent; ///< since the process began
  std::int64_t peak_memory = 0;
};

class StepRecorder {
 public:
  void add(std::int64_t step, const StepResult& result);
  Status write(const std::filesystem::path& file, const SentByGroup& sent, std::int64_t peak_memory) const;

 private:
  StepRecord record_;
};

Result<StepRecord> read_step_record(const std::filesystem::path& file);

} // namespace conclave
