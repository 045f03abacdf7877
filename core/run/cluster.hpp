// Cluster: this process among the ranks of its run.
//
// What this is: meeting the other ranks, agreeing with them on what must be equal (experiment, plugins, build, layout), the
// groups that a step talks through, and the watch over ranks that die or hang. A run of one rank has a Cluster too: it is
// alone and every call returns at once. What this is not: how any of it works (core/launch).
//
// Calls marked collective are made by every rank in the same order. Threading: the main thread, but checkpoint_peers().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/peers.hpp"
#include "conclave/mesh.hpp"
#include "conclave/parallel/group.hpp"
#include "conclave/status.hpp"
#include "config/experiment.hpp"
#include "launch/operation_board.hpp"
#include "launch/ranks.hpp"
#include "run/log.hpp"

namespace conclave {

class Cluster {
 public:
  struct Settings {
    RankInfo ranks;
    Mesh mesh;
    std::chrono::duration<double> timeout{600}, lost_after{30}; ///< parallel.timeout, parallel.lost_after
    Logger* log = nullptr;
    /// Another rank is lost and this one does not come back from what it is in (begin_end() was not called): called on a
    /// thread of its own with the error that the run would have ended with. The process ends when it returns.
    std::function<void(const Error&)> give_up;
    OperationBoard::SpanHook span; ///< for a trace of the collectives; empty: none
  };
  /// Meets the other ranks. Collective.
  static Result<std::unique_ptr<Cluster>> join(Settings settings);
  ~Cluster();

  [[nodiscard]] bool alone() const noexcept { return settings_.ranks.world_size == 1; }
  [[nodiscard]] const RankInfo& ranks() const noexcept { return settings_.ranks; }
  [[nodiscard]] int rank() const noexcept { return settings_.ranks.rank; }
  [[nodiscard]] const Mesh& mesh() const noexcept { return settings_.mesh; }

  /// Every rank must give the same text, else Code::unsupported says which ranks differ in `what`. Collective.
  Status agree(const std::string& what, const std::string& text);
  /// Rank 0's text on every rank. Collective.
  Result<std::string> broadcast(const std::string& key, const std::string& text);
  /// Every rank's text. Collective.
  Result<std::vector<std::string>> exchange(const std::string& key, const std::string& text);
  /// Whether `own` went well on every rank; else this rank's own error, or what the first rank that failed said. Waits as long
  /// as it takes. Collective.
  Status all_well(const std::string& key, const Status& own);

  /// Null when alone. Collective.
  Result<std::shared_ptr<Groups>> make_groups(const Device& device);
  /// Null when alone; lives as long as this object. Any thread.
  [[nodiscard]] Peers* checkpoint_peers();

  /// The number of steps seen, for reports of the watchdog.
  void set_step(std::int64_t step);
  /// An error because another rank is lost, with what the watchdog found out; others are returned as they are.
  [[nodiscard]] Error explain(Error error);
  /// The step thread is back and ends the run, well or badly: the watchdog leaves that to it from now on. Where give_up came
  /// first this does not return, and the process ends meanwhile.
  void begin_end();
  /// This rank ends with that exit code; the others learn of it. After a bad one the process ends within a minute, whatever
  /// it still waits for.
  void leave(int code, const std::string& reason);

 private:
  struct Impl;
  explicit Cluster(Settings settings);
  Settings settings_;
  std::unique_ptr<Impl> impl_;
};

} // namespace conclave
