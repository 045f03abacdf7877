// Ranks of which one dies, hangs or stops; every other one says what its watchdog told it and ends with 76.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <thread>

#include "launch/groups.hpp"
#include "launch/watchdog.hpp"
#include "rank_bodies.hpp"

namespace conclave::testing_launch {
namespace {

/// A rank with a watchdog, and what all ranks do: sums over the world, one a step.
struct Watched {
  std::unique_ptr<Rendezvous> rendezvous = join_here();
  std::shared_ptr<OperationBoard> board = std::make_shared<OperationBoard>();
  std::shared_ptr<Groups> groups;
  std::unique_ptr<Watchdog> watchdog;
  at::Tensor tensor = at::ones({1000});

  Watched() {
    WatchdogSettings settings;
    settings.lost_after = std::chrono::milliseconds(std::stol(variable("TEST_LOST_AFTER", "2000")));
    settings.timeout = std::chrono::milliseconds(std::stol(variable("TEST_TIMEOUT", "60000")));
    settings.board = board;
    settings.doing = [] { return std::string("plugin nobody, idle"); };
    settings.on_verdict = [](const Error& verdict) {
      std::fprintf(stderr, "verdict: %s\n", verdict.render().c_str());
      // A step thread that comes back ends the process itself; one that hangs does not.
      std::this_thread::sleep_for(std::chrono::seconds(2));
      _exit(76);
    };
    auto started = Watchdog::start(*rendezvous, std::move(settings));
    EXPECT_TRUE(started.ok());
    watchdog = std::move(started).value();
    auto made = make_groups(*rendezvous, mesh_here(rendezvous->settings().ranks), rendezvous->settings().ranks,
                            Device{}, std::chrono::seconds(90), board);
    EXPECT_TRUE(made.ok());
    groups = *made;
  }
  [[nodiscard]] int rank() const { return rendezvous->settings().ranks.rank; }
  [[nodiscard]] bool fails() const { return std::to_string(rank()) == variable("TEST_FAILS", "1"); }

  /// Steps until `fault` has done its work on the rank that fails and another one has found out.
  template <class Fault>
  [[noreturn]] void run(const Fault& fault) {
    try {
      for (int step = 1;; ++step) {
        watchdog->set_step(step);
        groups->world().all_reduce(tensor).wait();
        if (step != 5 || !fails()) continue;
        std::this_thread::sleep_for(std::chrono::milliseconds(500)); // for the sign that tells of this step
        fault();
      }
    } catch (const PeerLost& lost) {
      const Error told = watchdog->explain({Code::peer_lost, "", lost.what(), ""});
      std::fprintf(stderr, "explained: %s\n", told.render().c_str());
      watchdog->leave(exit_code(told.code), told.what);
      _exit(exit_code(told.code));
    }
  }
};

RANK_BODY(watched_kill) {
  Watched watched;
  watched.run([] { raise(SIGKILL); });
}

RANK_BODY(watched_stop) {
  Watched watched;
  watched.run([] { raise(SIGSTOP); });
}

/// Alive, and never comes to the sixth sum.
RANK_BODY(watched_hang) {
  Watched watched;
  watched.run([] { std::this_thread::sleep_for(std::chrono::seconds(100)); });
}

RANK_BODY(watched_error) {
  Watched watched;
  watched.run([&] {
    watched.watchdog->leave(4, "the loss is nan");
    _exit(4);
  });
}

RANK_BODY(watched_well) {
  Watched watched;
  for (int step = 1; step <= 3; ++step) watched.groups->world().all_reduce(watched.tensor).wait();
  // Ranks end one after another; the last is still at work when the first has been gone for longer than any limit.
  std::this_thread::sleep_for(std::chrono::milliseconds(500 * watched.rank()));
  EXPECT_FALSE(watched.watchdog->verdict().has_value());
  const Error other = watched.watchdog->explain(invalid("not about ranks"));
  EXPECT_EQ(other.what, "not about ranks");
  watched.watchdog->leave(0, "");
  EXPECT_TRUE(watched.rendezvous->leave().ok());
  watched.groups.reset();
  return 0;
}

} // namespace
} // namespace conclave::testing_launch
