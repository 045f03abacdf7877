// Joining, exchanges and agreement, seen by a rank.

#include <gmock/gmock.h>
#include <signal.h>

#include <thread>

#include "launch/ranks.hpp"
#include "rank_bodies.hpp"

namespace conclave::testing_launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RANK_BODY(join_only) {
  const auto rendezvous = join_here();
  EXPECT_EQ(rendezvous->hosts().size(), static_cast<std::size_t>(rendezvous->settings().ranks.world_size));
  EXPECT_TRUE(rendezvous->leave().ok());
  return 0;
}

RANK_BODY(exchanges) {
  const auto rendezvous = join_here();
  const int rank = rendezvous->settings().ranks.rank;
  const auto text = [](int r) { return r == 1 ? std::string() : std::string("a\0:\n", 4) + std::to_string(r); };
  auto second = rendezvous->connect("second", std::chrono::seconds(60));
  EXPECT_TRUE(second.ok());
  for (Exchange* exchange : {&rendezvous->exchange(), second->get()}) {
    for (int round = 0; round < 3; ++round) { // the n-th call meets the n-th
      const auto all = exchange->exchange("words", text(rank) + std::to_string(round));
      EXPECT_TRUE(all.ok());
      const std::string end = std::to_string(round);
      EXPECT_THAT(*all, ElementsAre(text(0) + end, text(1) + end, text(2) + end));
      const auto gathered = exchange->gather("gather", std::to_string(10 * rank + round));
      EXPECT_TRUE(gathered.ok());
      if (rank == 0)
        EXPECT_THAT(*gathered, ElementsAre(end, "1" + end, "2" + end));
      else
        EXPECT_TRUE(gathered->empty());
      EXPECT_EQ(exchange->broadcast("words", "from " + std::to_string(rank) + " " + end).value(), "from 0 " + end);
      EXPECT_TRUE(exchange->barrier("words").ok());
    }
    EXPECT_TRUE(exchange->agree("experiment", "the same").ok());
    const Status differs = exchange->agree("experiment", rank == 1 ? "another" : "the same");
    EXPECT_FALSE(differs.ok());
    if (!differs.ok()) {
      EXPECT_EQ(differs.error().code, Code::unsupported);
      EXPECT_THAT(differs.error().what, ::testing::MatchesRegex("the ranks do not have the same experiment: "
                                                                "[0-9a-f]+ on ranks 0, 2; [0-9a-f]+ on rank 1"));
    }
  }
  EXPECT_TRUE(rendezvous->leave().ok());
  return 0;
}

/// Rank 2 never comes to the exchange; every other rank is told which one it was.
RANK_BODY(missing_in_exchange) {
  const auto rendezvous = join_here();
  const int rank = rendezvous->settings().ranks.rank;
  auto exchange = rendezvous->connect("short", std::chrono::milliseconds(300));
  EXPECT_TRUE(exchange.ok());
  if (rank != 2) {
    const auto all = (*exchange)->exchange("words", "");
    EXPECT_FALSE(all.ok());
    if (!all.ok()) {
      EXPECT_EQ(all.error().code, Code::peer_lost);
      EXPECT_THAT(all.error().what, HasSubstr("rank 2 of 3 did not come to 'words"));
    }
  }
  EXPECT_TRUE(rendezvous->barrier("end").ok());
  EXPECT_TRUE(rendezvous->leave().ok());
  return 0;
}

/// A wait without a limit ends when its caller is told why.
RANK_BODY(interrupted) {
  const auto rendezvous = join_here();
  if (rendezvous->settings().ranks.rank == 0) {
    auto exchange = rendezvous->connect("endless", std::chrono::milliseconds(0));
    (*exchange)->set_interrupted([] { return Error{Code::peer_lost, "", "told so", ""}; });
    const auto all = (*exchange)->exchange("words", "");
    EXPECT_FALSE(all.ok());
    EXPECT_EQ(all.error().what, "told so");
  }
  EXPECT_TRUE(rendezvous->leave().ok());
  return 0;
}

/// The one that hosts the store leaves last, however late the others are.
RANK_BODY(host_leaves_last) {
  const auto rendezvous = join_here();
  if (rendezvous->settings().ranks.rank != 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const Status left = rendezvous->leave();
  EXPECT_TRUE(left.ok()) << left.error().render();
  return 0;
}

} // namespace
} // namespace conclave::testing_launch
