// Who ends a rank that has lost another one: the step thread or the watchdog, never both.

#include "run/cluster.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "launch/ranks.hpp"
#include "launch/store.hpp"

namespace conclave {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<Cluster> join(int rank, std::function<void(const Error&)> give_up) {
  Cluster::Settings settings;
  settings.ranks = {rank, 2, rank, 2, "conclave"};
  settings.mesh = *resolve_mesh({}, 2, rank);
  settings.lost_after = milliseconds(300);
  settings.give_up = std::move(give_up);
  auto joined = Cluster::join(std::move(settings));
  if (!joined.ok()) std::fprintf(stderr, "%s\n", joined.error().render().c_str());
  return joined.ok() ? std::move(joined).value() : nullptr;
}

/// Rank 1 falls silent; `rank_0` goes on with the cluster that has lost it, as the step thread does.
template <class Rank0>
void lose_rank_1(std::function<void(const Error&)> give_up, const Rank0& rank_0) {
  const auto server = StoreServer::start({"127.0.0.1", 0}, false, "test");
  if (!server.ok()) std::_Exit(1);
  setenv("CONCLAVE_RENDEZVOUS_ID", "test", 1);
  setenv("MASTER_PORT", std::to_string((*server)->port()).c_str(), 1);
  std::thread other([] { join(1, {}); });
  const auto cluster = join(0, std::move(give_up));
  other.join();
  if (cluster == nullptr) std::_Exit(1);
  rank_0(*cluster);
}

TEST(ClusterDeathTest, AStepThreadThatComesBackTooLateHasNothingToSay) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::atomic<bool> giving_up = false;
  const auto late = [&] {
    lose_rank_1(
        [&](const Error& error) {
          giving_up = true;
          std::this_thread::sleep_for(milliseconds(300)); // writes down how it ends
          std::fprintf(stderr, "gives up: %s\n", error.what.c_str());
        },
        [&](Cluster& cluster) {
          while (!giving_up) std::this_thread::sleep_for(milliseconds(1));
          cluster.begin_end();
          std::fprintf(stderr, "comes back\n");
          std::_Exit(5);
        });
  };
  EXPECT_EXIT(late(), ::testing::ExitedWithCode(76),
              AllOf(HasSubstr("gives up: rank 1 "), Not(HasSubstr("comes back"))));
}

TEST(ClusterDeathTest, AStepThreadThatIsBackEndsTheRun) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto back = [] {
    lose_rank_1([](const Error&) { std::fprintf(stderr, "gives up\n"); },
                [](Cluster& cluster) {
                  cluster.begin_end();
                  const Error error = cluster.explain({Code::peer_lost, "", "a collective broke", ""});
                  std::fprintf(stderr, "ends: %s\n", error.what.c_str());
                  std::this_thread::sleep_for(std::chrono::seconds(6)); // the watchdog's patience is less
                  std::_Exit(exit_code(error.code));
                });
  };
  EXPECT_EXIT(back(), ::testing::ExitedWithCode(76), AllOf(HasSubstr("ends: rank 1 "), Not(HasSubstr("gives up"))));
}

} // namespace
} // namespace conclave
