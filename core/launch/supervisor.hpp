// supervise(): `run --ranks N` on one machine: N processes of a program, and a store for them to meet at.
//
// Rank 0 has this process's standard output and error; what the others write comes out of this process's standard error, line
// by line with `[rank 3] ` in front. SIGTERM, SIGINT, SIGUSR1 and SIGHUP go to every rank, each as often as it comes here.
// When a rank ends badly the others get the grace time to end by themselves, then SIGTERM, then SIGKILL. No rank outlives this
// process.
//
// Threading: the main thread, before others are started: it blocks those signals while it runs.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace conclave {

struct SupervisorSettings {
  std::vector<std::string> command; ///< the program's path and its arguments
  int ranks = 1;
  std::chrono::milliseconds grace{std::chrono::seconds(60)};      ///< to end by oneself after another rank ended badly
  std::chrono::milliseconds kill_after{std::chrono::seconds(30)}; ///< from SIGTERM to SIGKILL
  /// To end by oneself after a rank ended with 76: it knows who is lost, and the others know as well. What is still there then
  /// is the lost one, and gets SIGKILL soon after SIGTERM.
  std::chrono::milliseconds grace_after_verdict{std::chrono::seconds(10)};
};

/// The run's exit code: 0 when every rank's is 0; the first of 1 to 5 that a rank ended with; else 76 when a rank ended with it
/// or was killed by a signal; 75 when the ranks ended with 75 or 0; 1 for any other. 3 when they cannot be started.
///
/// Each rank finds CONCLAVE_RANK, CONCLAVE_WORLD_SIZE, CONCLAVE_LOCAL_RANK, CONCLAVE_LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and
/// CONCLAVE_RENDEZVOUS_ID in its environment (resolve_ranks, resolve_rendezvous), and OMP_NUM_THREADS: its part of the cores,
/// unless it is set.
int supervise(const SupervisorSettings& settings);

} // namespace conclave
