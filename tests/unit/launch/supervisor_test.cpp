// Local ranks under supervise(): shell scripts that end, print and trap as each test wants.

#include "launch/supervisor.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace conclave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// supervise() in a process of its own, with its output in files.
class Supervised {
 public:
  Supervised(const std::string& script, int ranks, std::chrono::milliseconds grace = std::chrono::seconds(60),
             std::chrono::milliseconds kill_after = std::chrono::seconds(60)) {
    std::string name = (std::filesystem::temp_directory_path() / "conclave-supervisor-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    const SupervisorSettings settings{
        {"/bin/sh", "-c", "cd " + name + "; " + script}, ranks, grace, kill_after, std::chrono::milliseconds(200)};
    process_ = ::fork();
    if (process_ == 0) {
      ::alarm(120);
      if (std::freopen((folder_ / "out").c_str(), "w", stdout) == nullptr ||
          std::freopen((folder_ / "err").c_str(), "w", stderr) == nullptr)
        ::_exit(99);
      const int code = supervise(settings);
      std::fflush(nullptr);
      ::_exit(code);
    }
  }
  ~Supervised() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;

  int code() {
    int status = 0;
    ::waitpid(std::exchange(process_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void signal(int number) const { ::kill(process_, number); }
  [[nodiscard]] std::string text(const std::string& file) const {
    std::ifstream in(folder_ / file);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
  }
  /// Until the file is there and has something in it; false when that takes a minute.
  [[nodiscard]] bool appears(const std::string& file) const {
    for (int i = 0; i < 6000; ++i) {
      if (!text(file).empty()) return true;
      ::usleep(10'000);
    }
    return false;
  }

 private:
  std::filesystem::path folder_;
  pid_t process_ = -1;
};

int code_of(const std::string& script, int ranks = 3) { return Supervised(script, ranks).code(); }

const std::string by_rank = "case $CONCLAVE_RANK in ";

TEST(Supervisor, TheExitCodeIsThatOfTheRanks) {
  EXPECT_EQ(code_of("exit 0"), 0);
  EXPECT_EQ(code_of("exit 75"), 75);
  EXPECT_EQ(code_of(by_rank + "1) exit 75;; esac"), 75);
  EXPECT_EQ(code_of(by_rank + "1) exit 76;; esac"), 76);
  EXPECT_EQ(code_of(by_rank + "1) exit 4;; *) exit 76;; esac"), 4);
  EXPECT_EQ(code_of(by_rank + "2) kill -9 $$;; *) exit 75;; esac"), 76);
  EXPECT_EQ(code_of(by_rank + "0) exit 3;; *) kill -9 $$;; esac"), 3);
  EXPECT_EQ(code_of(by_rank + "0) exit 42;; esac"), 1);
  // The first of two that differ.
  EXPECT_EQ(code_of(by_rank +
                    "1) exit 5;; 2) while [ ! -e ended ]; do sleep .1; done; exit 2;; 0) sleep 1; touch ended;; esac"),
            5);
}

TEST(Supervisor, AProgramThatIsNone) {
  const SupervisorSettings settings{{"/no/such/program"}, 2};
  EXPECT_EQ(supervise(settings), 1);
}

TEST(Supervisor, RankZeroHasTheConsoleAndTheOthersAPrefix) {
  Supervised run(R"(
    echo "out $CONCLAVE_RANK of $CONCLAVE_WORLD_SIZE"; echo "err $CONCLAVE_RANK" >&2
    if [ $CONCLAVE_RANK = 1 ]; then i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done; fi
    printf 'no end of line')",
                 3);
  EXPECT_EQ(run.code(), 0);
  EXPECT_EQ(run.text("out"), "out 0 of 3\nno end of line");
  const std::string err = run.text("err");
  EXPECT_THAT(err, AllOf(HasSubstr("err 0\n"), Not(HasSubstr("[rank 0]"))));
  EXPECT_THAT(err, AllOf(HasSubstr("[rank 1] out 1 of 3\n"), HasSubstr("[rank 1] err 1\n")));
  EXPECT_THAT(err, AllOf(HasSubstr("[rank 2] out 2 of 3\n"), HasSubstr("[rank 2] no end of line\n")));
  EXPECT_THAT(err, AllOf(HasSubstr("[rank 1] line 0\n"), HasSubstr("[rank 1] line 299\n")));
}

TEST(Supervisor, TheRanksFindTheirVariables) {
  ::unsetenv("OMP_NUM_THREADS");
  Supervised run(
      "echo $CONCLAVE_LOCAL_RANK $CONCLAVE_LOCAL_WORLD_SIZE $MASTER_ADDR ${MASTER_PORT:+port} "
      "${CONCLAVE_RENDEZVOUS_ID:+id} $OMP_NUM_THREADS > $CONCLAVE_RANK; echo $MASTER_PORT $CONCLAVE_RENDEZVOUS_ID > "
      "same.$CONCLAVE_RANK",
      2);
  EXPECT_EQ(run.code(), 0);
  const unsigned threads = std::max(1u, std::thread::hardware_concurrency() / 2);
  EXPECT_EQ(run.text("0"), "0 2 127.0.0.1 port id " + std::to_string(threads) + "\n");
  EXPECT_EQ(run.text("1"), "1 2 127.0.0.1 port id " + std::to_string(threads) + "\n");
  EXPECT_EQ(run.text("same.0"), run.text("same.1"));
}

TEST(Supervisor, OmpThreadsOfTheCallerStay) {
  ::setenv("OMP_NUM_THREADS", "7", 1);
  Supervised run("echo $OMP_NUM_THREADS > $CONCLAVE_RANK", 2);
  ::unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(run.code(), 0);
  EXPECT_EQ(run.text("1"), "7\n");
}

TEST(Supervisor, SignalsArePassedOnOnceEach) {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
    Supervised run(R"(
      count() { echo x >> got.$CONCLAVE_RANK; }
      trap count TERM INT USR1 HUP
      echo y > ready.$CONCLAVE_RANK
      while [ ! -e got.$CONCLAVE_RANK ]; do sleep .05; done
      sleep .3
      exit 75)",
                   2);
    ASSERT_TRUE(run.appears("ready.0") && run.appears("ready.1"));
    run.signal(number);
    EXPECT_EQ(run.code(), 75);
    EXPECT_EQ(run.text("got.0"), "x\n") << number;
    EXPECT_EQ(run.text("got.1"), "x\n") << number;
  }
}

TEST(Supervisor, AfterABadEndTheOthersAreToldThenKilled) {
  // Rank 1 obeys SIGTERM, rank 2 does not.
  Supervised run(R"(
    case $CONCLAVE_RANK in
      0) while [ ! -e ready.1 ] || [ ! -e ready.2 ]; do sleep .05; done; exit 4;;
      1) trap 'echo told > told; exit 75' TERM; echo y > ready.1; while :; do sleep .05; done;;
      2) trap '' TERM; echo y > ready.2; while :; do sleep .05; done;;
    esac)",
                 3, std::chrono::milliseconds(200), std::chrono::milliseconds(500));
  EXPECT_EQ(run.code(), 4);
  EXPECT_EQ(run.text("told"), "told\n");
  EXPECT_THAT(run.text("err"), HasSubstr("conclave: rank 2 (process "));
  EXPECT_THAT(run.text("err"), HasSubstr("was killed by SIGKILL"));
}

TEST(Supervisor, AfterAVerdictTheLostOneIsKilledSoon) {
  // The grace of a minute is for ranks that nobody has found to be lost.
  Supervised run(R"(
    case $CONCLAVE_RANK in
      0) while [ ! -e ready ]; do sleep .05; done; exit 76;;
      1) echo y > ready; kill -STOP $$;;
    esac)",
                 2, std::chrono::minutes(10), std::chrono::minutes(10));
  EXPECT_EQ(run.code(), 76);
  EXPECT_THAT(run.text("err"), HasSubstr("rank 1 (process "));
}

TEST(Supervisor, ADeathIsToldToThoseWhoStillWaitForIt) {
  Supervised run("if [ $CONCLAVE_RANK = 1 ]; then exit 4; fi; CONCLAVE_RENDEZVOUS_TIMEOUT=600 exec " LAUNCH_RANKS
                 " join_only 2> said.$CONCLAVE_RANK",
                 3, std::chrono::minutes(10));
  EXPECT_EQ(run.code(), 4);
  EXPECT_THAT(run.text("said.0"), HasSubstr("rank 1 ended with exit code 4"));
  EXPECT_THAT(run.text("said.2"), HasSubstr("rank 1 ended with exit code 4"));
}

TEST(Supervisor, NoRankOutlivesIt) {
  Supervised run("echo $$ > pid.$CONCLAVE_RANK; while :; do sleep .05; done", 2);
  ASSERT_TRUE(run.appears("pid.0") && run.appears("pid.1"));
  const pid_t first = std::stoi(run.text("pid.0")), second = std::stoi(run.text("pid.1"));
  run.signal(SIGKILL);
  EXPECT_EQ(run.code(), -SIGKILL);
  for (const pid_t pid : {first, second}) {
    const auto running = [pid] {
      std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
      std::string text;
      std::getline(in, text);
      return !text.empty() && text.find(") Z") == std::string::npos; // nobody may be there to reap an orphan
    };
    for (int i = 0; i < 6000 && running(); ++i) ::usleep(10'000);
    EXPECT_FALSE(running()) << pid;
  }
}

} // namespace
} // namespace conclave
