// metrics.jsonl of runs that were resumed, torn, or written by others.

#include "compare/curves.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "conclave/testkit.hpp"
#include "unit/compare/planted.hpp"

namespace conclave::compare {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

TEST(Curves, OfAWholeRun) {
  const testkit::TemporaryDir root;
  const Curves curves = read_curves(conclave::testing::plant(root, {.name = "r", .steps = 4, .held_out = 2.5}));
  EXPECT_THAT(curves.step, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(curves.tokens, ElementsAre(100, 200, 300, 400));
  EXPECT_NEAR(curves.hours.back(), 4 * 0.1 / 3600, 1e-12);
  EXPECT_THAT(curves.nll, ElementsAre(8, 4, DoubleEq(8.0 / 3), 2));
  EXPECT_EQ(curves.imbalance[0], (30 / 20.0 + 1) / 2); // fullest over mean: 1.5 in one layer, even in the other
  ASSERT_EQ(curves.evaluations.size(), 1u);
  EXPECT_EQ(curves.evaluations[0].step, 4);
  EXPECT_EQ(curves.evaluations[0].all.bits_per_byte, 1.25);
  EXPECT_EQ(curves.evaluations[0].domains.at("web").nll, 2.5);
  EXPECT_TRUE(std::isnan(curves.grad_norm[0]));
}

TEST(Curves, ALaterAttemptSupersedes) {
  const testkit::TemporaryDir root;
  root.write("metrics.jsonl", R"({"event":"start","schema":1,"attempt":0,"first_step":0}
{"event":"step","step":1,"nll":5,"tokens":10,"step_seconds":3600}
{"event":"step","step":2,"nll":4,"tokens":10,"step_seconds":3600}
{"event":"evaluation","step":2,"eval_nll":9}
{"event":"step","step":3,"nll":3,"tokens":10,"step_seconds":3600}
{"event":"start","schema":1,"attempt":1,"first_step":1}
{"event":"step","step":2,"nll":"nan","tokens":10,"step_seconds":7200}
{"event":"evaluation","step":2,"eval_nll":8}
)");
  const Curves curves = read_curves(root.path());
  EXPECT_THAT(curves.step, ElementsAre(1, 2));
  EXPECT_THAT(curves.tokens, ElementsAre(10, 20));
  EXPECT_THAT(curves.hours, ElementsAre(1, 3));
  EXPECT_TRUE(std::isnan(curves.nll[1]));
  EXPECT_EQ(curves.superseded, 2);
  EXPECT_EQ(curves.attempts, 2);
  ASSERT_EQ(curves.evaluations.size(), 1u);
  EXPECT_EQ(curves.evaluations[0].all.nll, 8);
}

TEST(Curves, DamagedLinesAreCountedAndLeftOut) {
  const testkit::TemporaryDir root;
  root.write("metrics.jsonl", "{\"event\":\"step\",\"step\":1,\"nll\":5}\n\x01garbage\n[1,2]\n{\"event\":\"step\"}\n" +
                                  std::string(100, '\0') + "\n{\"event\":\"step\",\"step\":2,\"nll\":4}\n" +
                                  "{\"event\":\"step\",\"st");
  const Curves curves = read_curves(root.path());
  EXPECT_THAT(curves.step, ElementsAre(1, 2));
  EXPECT_EQ(curves.unreadable, 5);
}

TEST(Curves, AMetricsFileOfAnotherName) {
  const testkit::TemporaryDir root;
  EXPECT_TRUE(read_curves(root.path()).step.empty());
  root.write("other.jsonl", "{\"event\":\"note\"}\n");
  root.write("mine.jsonl",
             "{\"event\":\"start\",\"schema\":1,\"first_step\":0}\n{\"event\":\"step\",\"step\":1,\"nll\":5}\n");
  EXPECT_THAT(read_curves(root.path()).step, ElementsAre(1));
}

TEST(Curves, TrailingMean) {
  EXPECT_THAT(trailing_mean({4, 2, NAN, 6}, 2), ElementsAre(4, 3, 2, 6));
  EXPECT_TRUE(std::isnan(trailing_mean({NAN}, 3)[0]));
}

} // namespace
} // namespace conclave::compare
