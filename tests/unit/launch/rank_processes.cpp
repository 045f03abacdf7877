// posix_spawn and waitpid.

#include "rank_processes.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

extern char** environ; // NOLINT: POSIX has no header for it

namespace conclave::testing_launch {
namespace {

constexpr const char* launch_id = "test";

}

int free_port() {
  const auto server = StoreServer::start({"127.0.0.1", 0}, false, launch_id);
  if (!server.ok()) throw std::runtime_error(server.error().render());
  return (*server)->port();
}

RankProcesses::RankProcesses(const std::string& body, int ranks, std::map<std::string, std::string> variables,
                             const std::vector<int>& absent)
    : body_(body), ranks_(ranks), variables_(std::move(variables)) {
  std::string name = (std::filesystem::temp_directory_path() / "conclave-ranks-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = name;
  auto server = StoreServer::start({"127.0.0.1", 0}, false, launch_id);
  if (!server.ok()) throw std::runtime_error(server.error().render());
  server_ = std::move(server).value();
  for (int rank = 0; rank < ranks; ++rank)
    if (std::find(absent.begin(), absent.end(), rank) == absent.end()) start(rank);
}

RankProcesses::~RankProcesses() {
  for (const auto& [rank, pid] : processes_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  if (::testing::Test::HasFailure())
    for (int rank = 0; rank < ranks_; ++rank) std::fprintf(stderr, "---- rank %d:\n%s\n", rank, output(rank).c_str());
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void RankProcesses::start(int rank, const std::map<std::string, std::string>& variables) {
  std::map<std::string, std::string> all{{"CONCLAVE_RANK", std::to_string(rank)},
                                         {"CONCLAVE_WORLD_SIZE", std::to_string(ranks_)},
                                         {"CONCLAVE_LOCAL_RANK", std::to_string(rank)},
                                         {"CONCLAVE_LOCAL_WORLD_SIZE", std::to_string(ranks_)},
                                         {"MASTER_ADDR", "127.0.0.1"},
                                         {"MASTER_PORT", std::to_string(port())},
                                         {"CONCLAVE_RENDEZVOUS_ID", launch_id},
                                         {"CONCLAVE_RENDEZVOUS_TIMEOUT", "60"},
                                         {"TEST_FOLDER", folder_.string()},
                                         {"OMP_NUM_THREADS", "1"}};
  for (const auto& [key, value] : variables_) all[key] = value;
  for (const auto& [key, value] : variables) all[key] = value;
  std::vector<std::string> texts;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string text = *one;
    if (!all.contains(text.substr(0, text.find('=')))) texts.push_back(text);
  }
  for (const auto& [key, value] : all) texts.push_back(key + "=" + value);
  std::vector<char*> environment;
  for (std::string& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);
  std::string program = LAUNCH_RANKS;
  std::vector<char*> arguments{program.data(), body_.data(), nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, file(rank).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + program);
  processes_[rank] = pid;
}

void RankProcesses::signal(int rank, int number) { ::kill(processes_.at(rank), number); }

End RankProcesses::wait(int rank) {
  const pid_t pid = processes_.at(rank);
  int status = 0;
  for (int i = 0; ::waitpid(pid, &status, WNOHANG) != pid; ++i) {
    if (i == 12000) {
      ADD_FAILURE() << "rank " << rank << " does not end";
      return {};
    }
    ::usleep(10'000);
  }
  processes_.erase(rank);
  return WIFEXITED(status) ? End{WEXITSTATUS(status), 0} : End{-1, WTERMSIG(status)};
}

std::string RankProcesses::output(int rank) const {
  std::ifstream in(file(rank));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void expect_all_end_well(const std::string& body, int ranks, const std::map<std::string, std::string>& variables) {
  RankProcesses processes(body, ranks, variables);
  for (int rank = 0; rank < ranks; ++rank) {
    EXPECT_EQ(processes.wait(rank).code, 0) << body << ", rank " << rank;
    EXPECT_EQ(processes.output(rank), "") << body << ", rank " << rank;
  }
}

} // namespace conclave::testing_launch
