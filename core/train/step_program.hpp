// StepProgram: how a step runs, as a list of segments.
//
// A capturable segment only enqueues work on persistent buffers: it may be recorded into a CUDA graph and replayed. A host
// segment touches the host (uploads a batch, reads results) and runs each time. The eager executor calls every segment in
// order and is the reference; a graph executor records each run of neighbouring capturable segments, so a whole step as one
// graph is its case of [host, capturable..., host].
//
// Threading: the step thread.
#pragma once

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
  std::function<Status()> run;
};

class StepProgram {
 public:
  void capturable(std::string name, std::function<Status()> run) {
    segments_.push_back({ProgramSegment::Kind::capturable, std::move(name), std::move(run)});
  }
  void host(std::string name, std::function<Status()> run) {
    segments_.push_back({ProgramSegment::Kind::host, std::move(name), std::move(run)});
  }
  [[nodiscard]] const std::vector<ProgramSegment>& segments() const noexcept { return segments_; }

 private:
  std::vector<ProgramSegment> segments_;
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  /// Stops at the first segment that fails. `key` names the shapes of the step: programs of equal keys do the same work.
  virtual Status run(const StepProgram& program, const std::string& key) = 0;
};

class EagerExecutor final : public StepExecutor {
 public:
  Status run(const StepProgram& program, const std::string& key) override;
};

} // namespace conclave::train
