// Observer: the thread that hands reports to monitors, so that a slow monitor never holds up a step until the queue is full.
//
// Threading: any thread may post, drain and flush; reports of one thread stay in order. Monitors are called from the
// observer's thread only, one after the other.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "conclave/monitor.hpp"
#include "run/log.hpp"

namespace conclave {

class Observer {
 public:
  struct Watched {
    std::string id, name;
    std::shared_ptr<Monitor> monitor;
  };
  /// Starts the thread; `capacity` reports may wait.
  Observer(std::vector<Watched> monitors, Logger& log, std::size_t capacity = 64);
  ~Observer(); ///< finish(1) if it was not called

  /// Calls start() of every monitor on the observer's thread and waits; the first error ends the run.
  Status start(const RunInfo& run);
  void post(StepReport report);
  void post(EvaluationReport report);
  void checkpoint_committed(std::int64_t step, std::string path);
  /// Until everything posted before this call was seen.
  void drain();
  /// Asks every monitor to make durable what was posted before this call, and waits for it; false when `limit` was not
  /// enough. Any wait of ten seconds is told in the log, with the monitor that is waited for.
  bool flush(std::chrono::seconds limit);
  /// Drains, calls finish() of every monitor and joins; what is posted later is dropped. From one thread at a time.
  void finish(int exit_code);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace conclave
