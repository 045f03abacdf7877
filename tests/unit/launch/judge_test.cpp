// Who is to blame, from what was seen when.

#include "launch/judge.hpp"

#include <gmock/gmock.h>

namespace conclave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

SignOfLife sign(std::uint64_t number, std::int64_t step = 7) {
  SignOfLife sign;
  sign.number = number;
  sign.host = "node";
  sign.process = 100;
  sign.step = step;
  return sign;
}

SignOfLife waiting(std::uint64_t number, const std::string& sequence, std::vector<int> ranks, std::uint64_t call,
                   double seconds) {
  SignOfLife one = sign(number);
  one.issued[sequence_key(sequence, ranks)] = call;
  one.wait = SignOfLife::Wait{sequence, std::move(ranks), "all_reduce", call, seconds};
  return one;
}

TEST(SignOfLife, ComesBackAsItWasSent) {
  SignOfLife one = waiting(3, "data", {1, 5}, 12, 2.5);
  one.doing = "plugin x, forward";
  one.broken = true;
  one.left = 4;
  one.reason = "a \xff byte";
  const auto back = SignOfLife::decode(one.encode());
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->number, 3u);
  EXPECT_EQ(back->step, 7);
  EXPECT_EQ(back->doing, one.doing);
  EXPECT_TRUE(back->broken);
  EXPECT_EQ(back->left, 4);
  EXPECT_THAT(back->reason, StartsWith("a "));
  EXPECT_EQ(back->issued, one.issued);
  ASSERT_TRUE(back->wait.has_value());
  EXPECT_EQ(back->wait->ranks, (std::vector<int>{1, 5}));
  EXPECT_EQ(back->wait->seconds, 2.5);
  EXPECT_FALSE(SignOfLife::decode("").has_value());
  EXPECT_FALSE(SignOfLife::decode("{}").has_value());
}

TEST(Judge, ASignThatStandsStillIsNamedAfterTheLimitOnly) {
  Judge judge({.lost_after = 10, .timeout = 100}, 3);
  for (int rank = 0; rank < 3; ++rank) judge.see(rank, sign(1), 0);
  for (double now = 1; now <= 10; ++now) {
    judge.see(0, sign(1 + static_cast<std::uint64_t>(now)), now);
    judge.see(1, sign(1), now); // the same one again
    judge.see(2, sign(1 + static_cast<std::uint64_t>(now)), now);
    EXPECT_EQ(judge.verdict(now, true), std::nullopt) << now;
  }
  EXPECT_EQ(judge.verdict(10.5, true),
            "rank 1 (host node, process 100) has given no sign of life for 10.5 s; last seen in step 7");
}

TEST(Judge, ABrokenConnectionHalvesThePatience) {
  Judge judge({.lost_after = 10, .timeout = 100}, 2);
  judge.see(0, sign(1), 0);
  judge.see(1, sign(1), 0);
  judge.see(0, sign(2), 6);
  EXPECT_EQ(judge.verdict(6, true), std::nullopt);
  SignOfLife broken = sign(3);
  broken.broken = true;
  judge.see(0, broken, 6);
  EXPECT_THAT(judge.verdict(6, true).value_or(""), StartsWith("rank 1 "));
}

TEST(Judge, SeveralSilentOnesAreAllNamed) {
  Judge judge({.lost_after = 10, .timeout = 100}, 5);
  for (int rank = 0; rank < 5; ++rank) judge.see(rank, sign(1), 0);
  judge.see(0, sign(2), 11);
  judge.see(3, sign(2), 11);
  EXPECT_THAT(judge.verdict(11, true).value_or(""), AllOf(StartsWith("rank 1 "), HasSubstr("silent too: ranks 2, 4")));
}

TEST(Judge, ARankThatEndedIsNotSilent) {
  Judge judge({.lost_after = 10, .timeout = 100}, 2);
  SignOfLife left = sign(1);
  for (const int code : {0, 75}) {
    left.left = code;
    judge.see(0, left, 0);
    judge.see(1, left, 0);
    EXPECT_EQ(judge.verdict(50, true), std::nullopt);
  }
  left.left = 4;
  left.reason = "the loss is nan";
  judge.see(1, left, 50);
  EXPECT_EQ(judge.verdict(50, true),
            "rank 1 (host node, process 100) ended with exit code 4 in step 7: the loss is nan");
}

TEST(Judge, WhoEndedBecauseItLostAnotherIsBlamedLast) {
  Judge judge({.lost_after = 10, .timeout = 100}, 3);
  for (int rank = 0; rank < 3; ++rank) judge.see(rank, sign(1), 0);
  SignOfLife lost = sign(2);
  lost.left = 76;
  lost.reason = "all_reduce failed";
  judge.see(1, lost, 1);
  judge.see(0, sign(5), 9);
  EXPECT_EQ(judge.verdict(9, true), std::nullopt);
  judge.see(0, sign(6), 10.5);
  EXPECT_THAT(judge.verdict(10.5, true).value_or(""), StartsWith("rank 2 ")); // the silent one
  judge.see(2, sign(6), 11);
  judge.see(0, sign(7), 12);
  EXPECT_THAT(judge.verdict(12, true).value_or(""), AllOf(StartsWith("rank 1 "), HasSubstr("exit code 76")));
}

TEST(Judge, ACollectiveThatLastsTooLongIsTheFaultOfWhoDidNotCome) {
  Judge judge({.lost_after = 10, .timeout = 100}, 4);
  judge.see(0, waiting(1, "data", {0, 2}, 17, 101), 0);
  judge.see(1, sign(1), 0);
  SignOfLife busy = sign(1, 6);
  busy.issued[sequence_key("data", {0, 2})] = 16;
  busy.doing = "plugin x, forward";
  judge.see(2, busy, 0);
  judge.see(3, sign(1), 0);
  EXPECT_EQ(
      judge.verdict(0, true),
      "rank 2 (host node, process 100) has not come to all_reduce number 17 over data (ranks 0, 2), in which rank 0 "
      "has waited for 101 s; it is in step 6, plugin x, forward");
  EXPECT_EQ(judge.verdict(0, false), std::nullopt); // one that sees only some cannot say
}

TEST(Judge, FromWaitToWaitToTheOneThatWaitsForNobody) {
  // 0 waits for 1 over data, 1 waits for 3 over tensor; data of 2 and 3 has the same name and other ranks.
  Judge judge({.lost_after = 10, .timeout = 100}, 4);
  judge.see(0, waiting(1, "data", {0, 1}, 5, 120), 0);
  judge.see(1, waiting(1, "tensor", {1, 3}, 9, 110), 0);
  judge.see(2, waiting(1, "data", {2, 3}, 5, 50), 0);
  SignOfLife idle = sign(1);
  idle.issued[sequence_key("data", {2, 3})] = 4;
  idle.issued[sequence_key("tensor", {1, 3})] = 8;
  judge.see(3, idle, 0);
  EXPECT_THAT(judge.verdict(0, true).value_or(""),
              AllOf(StartsWith("rank 3 "), HasSubstr("number 9 over tensor (ranks 1, 3), in which rank 1")));
}

TEST(Judge, ACircleAndACollectiveThatAllCameTo) {
  Judge circle({.lost_after = 10, .timeout = 100}, 2);
  circle.see(0, waiting(1, "pipeline 1>0", {1, 0}, 1, 150), 0);
  circle.see(1, waiting(1, "pipeline 0>1", {0, 1}, 1, 150), 0);
  EXPECT_THAT(circle.verdict(0, true).value_or(""), HasSubstr("in a circle"));
  Judge all({.lost_after = 10, .timeout = 100}, 2);
  all.see(0, waiting(1, "data", {0, 1}, 3, 150), 0);
  all.see(1, waiting(1, "data", {0, 1}, 3, 150), 0);
  EXPECT_THAT(all.verdict(0, true).value_or(""), HasSubstr("all_reduce number 3 over data (ranks 0, 1) has not ended"));
}

} // namespace
} // namespace conclave
