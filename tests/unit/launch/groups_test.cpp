// The bodies of groups_bodies.cpp, as 2 and 4 processes.

#include <gmock/gmock.h>
#include <signal.h>

#include "rank_processes.hpp"

namespace conclave::testing_launch {
namespace {

TEST(Groups, EveryCollectiveWithEveryType) {
  expect_all_end_well("collectives", 2);
  expect_all_end_well("collectives", 4, {{"TEST_TENSOR", "2"}, {"TEST_EXPERT", "4"}});
}

TEST(Groups, MembersAreThoseOfTheMesh) {
  expect_all_end_well("group_members", 4, {{"TEST_TENSOR", "2"}, {"TEST_PIPELINE", "2"}, {"TEST_EXPERT", "2"}});
}

TEST(Groups, ManyUnderWayAreWaitedForInAnyOrder) {
  expect_all_end_well("order", 2);
  expect_all_end_well("order", 4);
}

TEST(Groups, SumsRepeatBitForBit) {
  expect_all_end_well("sum_order", 2);
  expect_all_end_well("sum_order", 4);
}

TEST(Groups, ADeadRankIsFoundOutByTheOthers) {
  RankProcesses processes("peer_killed", 4);
  EXPECT_EQ(processes.wait(3).signal, SIGKILL);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(processes.wait(rank).code, 76) << "rank " << rank;
}

TEST(Groups, ARankThatNeverComesIsNotWaitedForForEver) {
  RankProcesses processes("never_comes", 2);
  EXPECT_EQ(processes.wait(0).code, 76);
}

} // namespace
} // namespace conclave::testing_launch
