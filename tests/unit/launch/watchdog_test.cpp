// Fault drills: whatever happens to one rank, the others name it and end with 76.

#include <gmock/gmock.h>
#include <signal.h>

#include "rank_processes.hpp"

namespace conclave::testing_launch {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::map<std::string, std::string> failing(int rank) { return {{"TEST_FAILS", std::to_string(rank)}}; }

/// Every rank but one ends with 76 and says `matches`.
template <class Matcher>
void expect_all_say(RankProcesses& processes, int ranks, int but, const Matcher& matches) {
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == but) continue;
    EXPECT_EQ(processes.wait(rank).code, 76) << "rank " << rank;
    EXPECT_THAT(processes.output(rank), matches) << "rank " << rank;
  }
}

TEST(Watchdog, ARunThatEndsWellIsNotDisturbed) {
  RankProcesses processes("watched_well", 3, {{"TEST_LOST_AFTER", "400"}});
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(processes.wait(rank).code, 0) << "rank " << rank;
    EXPECT_EQ(processes.output(rank), "") << "rank " << rank;
  }
}

TEST(Watchdog, AKilledRankIsNamed) {
  for (const int victim : {0, 2}) {
    RankProcesses processes("watched_kill", 4, failing(victim));
    EXPECT_EQ(processes.wait(victim).signal, SIGKILL);
    const std::string name = "rank " + std::to_string(victim) + " (host ";
    expect_all_say(processes, 4, victim, AllOf(HasSubstr(name), HasSubstr("no sign of life"), HasSubstr("in step 5")));
  }
}

TEST(Watchdog, AStoppedRankIsNamed) {
  for (const int victim : {0, 3}) {
    RankProcesses processes("watched_stop", 4, failing(victim));
    const std::string name = "rank " + std::to_string(victim) + " (host ";
    expect_all_say(processes, 4, victim,
                   AllOf(HasSubstr(name), HasSubstr("no sign of life"), HasSubstr("plugin nobody, idle")));
  }
}

TEST(Watchdog, ARankThatHangsOutsideACollectiveIsNamed) {
  for (const int victim : {0, 1}) {
    std::map<std::string, std::string> variables = failing(victim);
    variables["TEST_TIMEOUT"] = "1500";
    RankProcesses processes("watched_hang", 3, variables);
    expect_all_say(
        processes, 3, victim,
        AllOf(HasSubstr("rank " + std::to_string(victim) + " (host "),
              HasSubstr("has not come to all_reduce number 6 over world (ranks 0-2)"), HasSubstr("it is in step 5")));
    EXPECT_EQ(processes.wait(victim).code, 76); // by its own watchdog
  }
}

TEST(Watchdog, ARankThatEndsWithAnErrorSaysWhy) {
  for (const int victim : {0, 1}) {
    RankProcesses processes("watched_error", 3, failing(victim));
    EXPECT_EQ(processes.wait(victim).code, 4);
    expect_all_say(processes, 3, victim,
                   AllOf(HasSubstr("rank " + std::to_string(victim) + " (host "),
                         HasSubstr("ended with exit code 4 in step 5: the loss is nan")));
  }
}

TEST(Watchdog, RankZeroThatHostsTheStoreIsNamedToo) {
  for (const char* body : {"watched_kill", "watched_stop", "watched_error"}) {
    std::map<std::string, std::string> variables = failing(0);
    variables["TEST_HOST_STORE"] = "1";
    variables["MASTER_PORT"] = std::to_string(free_port());
    RankProcesses processes(body, 3, variables);
    expect_all_say(processes, 3, 0, HasSubstr("rank 0 (host "));
  }
}

} // namespace
} // namespace conclave::testing_launch
