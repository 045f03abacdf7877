// Ranks that meet, and everything that keeps them from it: each is named, and nothing waits for ever.

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

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
  EXPECT_EQ(error.code, Code::unsupported);
  EXPECT_THAT(error.what, HasSubstr("nobody answers at the rendezvous address 127.0.0.1:"));
  EXPECT_THAT(error.what, HasSubstr("within 0.5 s"));
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
  EXPECT_EQ(error.code, Code::unsupported);
  EXPECT_THAT(error.what, HasSubstr("rank 1 of 2 did not come"));
  EXPECT_THAT(error.fix, HasSubstr("CONCLAVE_RENDEZVOUS_TIMEOUT"));
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
  RankProcesses processes("join_only", 3, {}, {1, 2});
  processes.start(1, {{"CONCLAVE_WORLD_SIZE", "4"}});
  EXPECT_EQ(processes.wait(0).code, 3);
  EXPECT_EQ(processes.wait(1).code, 3);
  const std::string both = processes.output(0) + processes.output(1);
  EXPECT_THAT(both, HasSubstr("as one of 4"));
  EXPECT_THAT(both, HasSubstr("as one of 3"));
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
