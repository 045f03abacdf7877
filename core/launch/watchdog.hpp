// Watchdog: finds out which rank died or hangs, and tells all others.
//
// Each rank shows a sign of life through the store: a number that grows, its step, the collective it waits in, what it does.
// Rank 0 reads all of them and publishes a verdict, once, when a rank's sign stands still for `lost_after`, when a rank has
// waited in one collective for longer than `timeout` (the rank to blame is the one that has not made the call, and waits for
// nobody itself), or when a rank left with an error. The others read the verdict, and judge rank 0 and the store by
// themselves.
//
// A verdict is an Error of Code::peer_lost: which rank on which host, the operation and its number, the step, what it did.
//
// Threading: two threads of its own; every method may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "conclave/status.hpp"
#include "launch/operation_board.hpp"
#include "launch/rendezvous.hpp"

namespace conclave {

struct WatchdogSettings {
  std::chrono::milliseconds lost_after{std::chrono::seconds(20)}; ///< without a sign of life
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};    ///< for one collective
  std::shared_ptr<OperationBoard> board;                          ///< may be null
  /// What the step thread does, e.g. "plugin model/moe-transformer, forward"; any thread. May be empty.
  std::function<std::string()> doing;
  /// Called once, on a thread of the watchdog, when there is a verdict.
  std::function<void(const Error&)> on_verdict;
};

class Watchdog {
 public:
  /// Collective: returns when every rank's watchdog is there.
  static Result<std::unique_ptr<Watchdog>> start(Rendezvous& rendezvous, WatchdogSettings settings);
  /// Ends its threads. Without leave() the others will find this rank silent.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void set_step(std::int64_t step) noexcept;
  [[nodiscard]] std::optional<Error> verdict() const;
  /// For an error of Code::peer_lost: tells the other watchdogs that a connection broke, waits for the verdict, a little longer
  /// than `lost_after` at most, and returns it; without one, the error. Other errors are returned at once.
  [[nodiscard]] Error explain(Error error);
  /// This rank ends with that exit code, for `reason`: its silence means nothing from now on. Any code but 0 and 75 is a
  /// verdict for the others; the rank that hosts the store then waits some seconds for them to read it. Once.
  void leave(int exit_code, const std::string& reason);

 private:
  struct Impl;
  explicit Watchdog(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

} // namespace conclave
