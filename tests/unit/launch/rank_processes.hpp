// The ranks of a test as processes of their own: each runs one named body of the program launch_ranks.
//
// The test hosts the store, as supervise() does. Processes that are left when the object ends are killed; a body that takes
// longer than two minutes is killed by its own alarm, so nothing outlives a test.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launch/store.hpp"

namespace conclave::testing_launch {

/// How a process ended.
struct End {
  int code = -1; ///< of exit(); -1 when a signal ended it
  int signal = 0;
};

/// A port that nobody had a moment ago.
int free_port();

class RankProcesses {
 public:
  /// Starts all ranks but those of `absent`. `variables` are added to each one's environment.
  RankProcesses(const std::string& body, int ranks, std::map<std::string, std::string> variables = {},
                const std::vector<int>& absent = {});
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  void start(int rank, const std::map<std::string, std::string>& variables = {});
  void signal(int rank, int number);
  /// Waits for its end, at most two minutes.
  End wait(int rank);
  /// What it wrote, standard output and error.
  [[nodiscard]] std::string output(int rank) const;
  [[nodiscard]] int port() const { return server_->port(); }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  [[nodiscard]] std::filesystem::path file(int rank) const { return folder_ / (std::to_string(rank) + ".txt"); }

  std::string body_;
  int ranks_;
  std::map<std::string, std::string> variables_;
  std::filesystem::path folder_;
  std::unique_ptr<StoreServer> server_;
  std::map<int, pid_t> processes_;
};

/// Runs a body and expects of every rank that it ends with 0 and writes nothing: the network's library is silent too.
void expect_all_end_well(const std::string& body, int ranks, const std::map<std::string, std::string>& variables = {});

} // namespace conclave::testing_launch
