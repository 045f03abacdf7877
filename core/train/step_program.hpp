// StepProgram: how a step runs, as a list of segments.
//
// A host segment runs each time; it may do anything, work on the device included. A capturable segment only enqueues work:
// it may be recorded into a CUDA graph once and the graph be replayed in its place, for every later step of the same key.
// The eager executor calls every segment in order and is the reference; a graph executor records each run of neighbouring
// capturable segments of one key. The engine's programs are [upload, (load, forward, backward) of each micro-batch..., update,
// read], where a micro-batch's passes are a run with a key of its shape, and `load` a host segment: a few recordings serve
// steps of any number and mixture of shapes. A pipeline's passes are interleaved, and are one run.
//
// A capturable segment may
//   - enqueue work on the current stream, also through autograd's threads, on memory that outlives the program (parameters,
//     gradients, states, buffers, the key's batch tensors, gate, loss scale, sums of metrics) and on temporaries of its own;
//   - take host decisions that every run of its key takes alike, such as those that follow from being the step's first or last
//     micro-batch, or from what the stage returned;
//   - change host state that later segments of its run read (what a GradSink has received), provided that a segment of the
//     same run before them set it anew. Nothing else reads such state: after a replay it is stale.
// It may not
//   - wait for the device, read from it, or copy from memory that is not pinned;
//   - depend on a number that differs between runs of one key, unless it is a tensor on the device that a host segment has
//     filled (learning rate, normalisers) or a segment has computed (loss scale);
//   - keep a tensor for good that it made while it was recorded. A recorder therefore first runs the segments of a new key
//     without recording them; what is made on first use (sums of losses, workspaces of libraries) is made then.
//
// Threading: the step thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::train {

struct ProgramSegment {
  enum class Kind { capturable, host };
  Kind kind = Kind::host;
  std::string name; ///< for profiles and error texts
  std::string
      key; ///< capturable: neighbours of equal keys are a run; runs of equal keys are interchangeable, in one engine
  std::function<Status()> run;
};

class StepProgram {
 public:
  void capturable(std::string name, std::string key, std::function<Status()> run) {
    segments_.push_back({ProgramSegment::Kind::capturable, std::move(name), std::move(key), std::move(run)});
  }
  void host(std::string name, std::function<Status()> run) {
    segments_.push_back({ProgramSegment::Kind::host, std::move(name), {}, std::move(run)});
  }
  [[nodiscard]] const std::vector<ProgramSegment>& segments() const noexcept { return segments_; }

 private:
  std::vector<ProgramSegment> segments_;
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  /// One step. Stops at the first segment that fails.
  virtual Status run(const StepProgram& program) = 0;
};

/// Told of each segment that ran: its name, and from when to when the host was in it.
using SegmentHook = std::function<void(const std::string& name, std::chrono::steady_clock::time_point begin,
                                       std::chrono::steady_clock::time_point end)>;

class EagerExecutor final : public StepExecutor {
 public:
  explicit EagerExecutor(SegmentHook hook = {}) : hook_(std::move(hook)) {}
  Status run(const StepProgram& program) override;

 private:
  SegmentHook hook_;
};

} // namespace conclave::train
