// GraphExecutor: a step's work for the device, recorded once for each key and repeated ever after.
//
// In the first step that has a run of a key (or the first few), it runs segment by segment, as the eager executor would. In the next
// it is recorded: the run becomes one piece of recorded work (a CUDA graph), which then serves every later run of the key with
// one call. What cannot be recorded (an operator that waits for the device, too little memory) stays eager, and the reason is
// told once.
//
// What this is: when to record and when to repeat. What this is not: CUDA; that is a WorkRecorder, from a library of its own.
//
// Threading: the step thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "train/step_program.hpp"

namespace conclave::train {

/// Recorded work. Memory that it uses stays reserved while it lives.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  /// Enqueues it on the current stream. May throw.
  virtual void replay() = 0;
};

class WorkRecorder {
 public:
  virtual ~WorkRecorder() = default;
  /// What `body` enqueues on the current stream, which does not run now. `body`'s error, or what could not be recorded.
  virtual Result<std::unique_ptr<RecordedWork>> record(const std::function<Status()>& body) = 0;
};

class GraphExecutor final : public StepExecutor {
 public:
  /// Keys that are recorded at most; runs of further ones stay eager.
  static constexpr std::size_t most_keys = 128;

  /// `note` gets the reason why runs of a key are not recorded. Both callbacks may be empty. `eager_steps`: with runs of a key,
  /// before it is recorded; at least 1.
  GraphExecutor(std::unique_ptr<WorkRecorder> recorder, std::function<void(const std::string&)> note,
                SegmentHook hook = {}, int eager_steps = 1);
  Status run(const StepProgram& program) override;

 private:
  struct Entry {
    bool refused = false;       ///< it cannot be recorded
    int steps = 0;              ///< that had such a run
    std::int64_t last_step = 0; ///< of those, counted from 1
    std::unique_ptr<RecordedWork> work;
  };
  /// A run of capturable segments.
  Status run_of(const std::string& key, const StepProgram& program, std::size_t begin, std::size_t end);
  Status run_segments(const StepProgram& program, std::size_t begin, std::size_t end);
  Result<std::unique_ptr<RecordedWork>> record(const StepProgram& program, std::size_t begin, std::size_t end);
  /// A reason that is not the one told last.
  void tell(const std::string& reason);

  std::unique_ptr<WorkRecorder> recorder_;
  std::function<void(const std::string&)> note_;
  SegmentHook hook_;
  int eager_steps_;
  std::map<std::string, Entry> entries_;
  std::int64_t step_ = 0;
  std::string told_;
};

/// Records CUDA graphs; opens libconclave_graph.so. The device must be open.
Result<std::unique_ptr<WorkRecorder>> open_cuda_recorder();

} // namespace conclave::train
