// Ranks that meet, and everything that keeps them from it: each is named, and nothing waits for ever.

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "io/file_handle.hpp"
#include "launch/rendezvous.hpp"
#include "rank_processes.hpp"

namespace conclave::testing_launch {
namespace {

using ::testing::HasSubstr;

/// A port that somebody has, and who may listen or not.
class TakenPort {
 public:
  explicit TakenPort(bool listening) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_TRUE(!listening || ::listen(socket_.get(), 8) == 0);
    getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] int port() const { return port_; }

 private:
  FileHandle socket_;
  int port_ = 0;
};

RendezvousSettings two_ranks(int rank, int port) {
  RendezvousSettings settings;
  settings.ranks = {rank, 2, rank, 2, "mpirun"};
  settings.address.port = port;
  settings.id = "test";
  settings.host_store = rank == 0;
  settings.timeout = std::chrono::milliseconds(500);
  return settings;
}

Error error_of(RendezvousSettings settings) {
  const auto joined = Rendezvous::join(std::move(settings));
  EXPECT_FALSE(joined.ok());
  return joined.ok() ? Error{} : joined.error();
}

TEST(Rendezvous, TextsMeetByKeyAndNumber) { expect_all_end_well("exchanges", 3); }

TEST(Rendezvous, AnExchangeNamesWhoDidNotCome) { expect_all_end_well("missing_in_exchange", 3); }

TEST(Rendezvous, AWaitWithoutALimitCanBeInterrupted) { expect_all_end_well("interrupted", 2); }

TEST(Rendezvous, RankZeroHostsTheStoreWhereNobodyElseDoes) {
  // As under mpirun, on a port that is free.
  const int port = free_port();
  expect_all_end_well("host_leaves_last", 3, {{"MASTER_PORT", std::to_string(port)}, {"TEST_HOST_STORE", "1"}});
}

TEST(Rendezvous, APortInUseSaysWhoShouldChangeIt) {
  const TakenPort taken(true);
  const Error error = error_of(two_ranks(0, taken.port()));
  EXPECT_EQ(error.code, Code::unsupported);
  EXPECT_THAT(error.what, HasSubstr("port " + std::to_string(taken.port()) + " of 127.0.0.1 is in use"));
  EXPECT_THAT(error.fix, HasSubstr("MASTER_PORT"));
}

TEST(Rendezvous, NobodyAnswers) {
  const TakenPort silent(false);
  const Error error = error_of(two_ranks(1, silent.port()));
  EXPECT_EQ(error.code, Code::peer_lost); // rank 0 may only be late
  EXPECT_THAT(error.what, HasSubstr("rank 0 has not come: nobody answers at the rendezvous address 127.0.0.1:"));
  EXPECT_THAT(error.what, HasSubstr("within 0.5 s"));
  EXPECT_THAT(error.fix, HasSubstr("CONCLAVE_RENDEZVOUS_TIMEOUT"));

  RendezvousSettings agent = two_ranks(1, silent.port());
  agent.agent_store = true; // runs before the ranks do: nothing there means that the address is wrong
  EXPECT_EQ(error_of(std::move(agent)).code, Code::unsupported);
}

TEST(Rendezvous, AnUnknownHostIsNamed) {
  RendezvousSettings settings = two_ranks(0, 0);
  settings.address.host = "no-such-host.invalid";
  const Error error = error_of(std::move(settings));
  EXPECT_EQ(error.code, Code::unsupported);
  EXPECT_THAT(error.what, HasSubstr("'no-such-host.invalid' is unknown"));
}

TEST(Rendezvous, OneThatAcceptsAndSaysNothingIsNotWaitedForForEver) {
  const TakenPort mute(true);
  const Error error = error_of(two_ranks(1, mute.port()));
  EXPECT_EQ(error.code, Code::unsupported);
}

TEST(Rendezvous, RanksThatDoNotComeAreNamed) {
  const Error error = error_of(two_ranks(0, 0));
  EXPECT_EQ(error.code, Code::peer_lost);
  EXPECT_THAT(error.what, HasSubstr("rank 1 of 2 did not come"));
  EXPECT_THAT(error.fix, HasSubstr("CONCLAVE_RENDEZVOUS_TIMEOUT"));
}

TEST(Rendezvous, EveryRankNamesTheOneThatDoesNotCome) {
  for (const bool rank_0_hosts : {false, true}) {
    std::map<std::string, std::string> variables{{"CONCLAVE_RENDEZVOUS_TIMEOUT", "4"}};
    if (rank_0_hosts) {
      variables["TEST_HOST_STORE"] = "1";
      variables["MASTER_PORT"] = std::to_string(free_port());
    }
    // Rank 1 has waited for longer than the others when their time is up, and would be the first to lose patience.
    RankProcesses processes("join_only", 4, variables, {0, 2, 3});
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    processes.start(0);
    processes.start(2);
    for (const int rank : {0, 1, 2}) {
      EXPECT_EQ(processes.wait(rank).code, 76) << "rank " << rank;
      EXPECT_THAT(processes.output(rank), HasSubstr("rank 3 of 4 did not come")) << "rank " << rank;
    }
  }
}

TEST(Rendezvous, AStoreOfAnotherLaunchIsStale) {
  const auto server = StoreServer::start({"127.0.0.1", 0}, false, "41.0");
  ASSERT_TRUE(server.ok());
  const Error error = error_of(two_ranks(1, (*server)->port()));
  EXPECT_EQ(error.code, Code::unsupported);
  EXPECT_THAT(error.what, HasSubstr("stale rendezvous"));
  EXPECT_THAT(error.what, HasSubstr("serves launch 41.0, this is launch test"));
}

TEST(Rendezvous, ARankThatCameTwiceEndsTheMeeting) {
  RankProcesses processes("join_only", 3, {}, {1, 2});
  processes.start(1, {{"CONCLAVE_RANK", "0"}});
  EXPECT_EQ(processes.wait(0).code, 3);
  EXPECT_EQ(processes.wait(1).code, 3);
  EXPECT_THAT(processes.output(0), HasSubstr("rank 0 of launch test has come 2 times"));
  EXPECT_THAT(processes.output(1), HasSubstr("rank 0 of launch test has come 2 times"));
}

TEST(Rendezvous, WorldsOfDifferentSizesAreNamed) {
  for (const bool rank_0_hosts : {false, true}) { // and must not be gone before the other has read why
    std::map<std::string, std::string> variables;
    if (rank_0_hosts) variables = {{"TEST_HOST_STORE", "1"}, {"MASTER_PORT", std::to_string(free_port())}};
    RankProcesses processes("join_only", 3, variables, {1, 2});
    processes.start(1, {{"CONCLAVE_WORLD_SIZE", "4"}});
    for (const int rank : {0, 1}) {
      EXPECT_EQ(processes.wait(rank).code, 3) << "rank " << rank;
      EXPECT_THAT(processes.output(rank), HasSubstr("as one of 4")) << "rank " << rank;
      EXPECT_THAT(processes.output(rank), HasSubstr("as one of 3")) << "rank " << rank;
    }
  }
}

TEST(Rendezvous, AStoppedHostEndsTheJoining) {
  // Rank 0 hosts, and is stopped: its kernel still accepts connections.
  const int port = free_port();
  RankProcesses processes(
      "join_only", 2,
      {{"MASTER_PORT", std::to_string(port)}, {"TEST_HOST_STORE", "1"}, {"CONCLAVE_RENDEZVOUS_TIMEOUT", "2"}}, {1});
  const auto found = Store::connect({"127.0.0.1", port}, "", std::chrono::seconds(60));
  ASSERT_TRUE(found.ok());
  processes.signal(0, SIGSTOP);
  processes.start(1);
  EXPECT_EQ(processes.wait(1).code, 3);
}

} // namespace
} // namespace conclave::testing_launch
