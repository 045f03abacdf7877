// Planted differences, and whether they are found and named.

#include "compare/comparison.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "unit/compare/planted.hpp"

namespace conclave::compare {
namespace {

using conclave::testing::plant;
using conclave::testing::Planted;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Comparing : public ::testing::Test {
 protected:
  void add(const Planted& run) { folders.push_back(plant(root, run)); }
  /// Seeds 1 to n of one recipe.
  void add_seeds(const std::string& lr, const std::vector<double>& held_out, const std::string& order = "d") {
    for (std::size_t i = 0; i < held_out.size(); ++i)
      add({.name = lr + "-" + std::to_string(i + 1),
           .seed = std::to_string(i + 1),
           .data_order = order,
           .held_out = held_out[i],
           .numerics = {{"optimizer.with.lr", lr}}});
  }
  Comparison compared(const Options& options = {}) {
    auto comparison = compare(folders, options);
    EXPECT_TRUE(comparison.ok()) << comparison.error().render();
    return std::move(*comparison);
  }
  testkit::TemporaryDir root;
  std::vector<std::filesystem::path> folders;
};

TEST_F(Comparing, RunsThatDifferBySeedOnlyCannotBeTold) {
  add_seeds("1e-3", {3.21, 3.19});
  const Comparison all = compared();
  ASSERT_EQ(all.groups.size(), 1u);
  EXPECT_EQ(all.groups[0].counted.size(), 2u);
  EXPECT_TRUE(all.verdicts.empty());
  EXPECT_EQ(all.only_seeds,
            "cannot tell the runs apart: they differ by seed only, so their differences are the noise between seeds: "
            "held-out nll at the end is 3.200 with a deviation of 0.014 nats over 2 seeds (3.190 to 3.210)");
}

TEST_F(Comparing, AWorseLearningRateByHowMuch) {
  add_seeds("1e-3", {3.212, 3.198, 3.225, 3.207});
  add_seeds("9e-3", {3.221, 3.207, 3.240, 3.212});
  const Comparison all = compared();
  ASSERT_EQ(all.verdicts.size(), 1u);
  const Verdict& verdict = all.verdicts[0];
  EXPECT_EQ(verdict.outcome, Outcome::worse);
  EXPECT_EQ(all.groups[0].label, "lr=1e-3");
  EXPECT_EQ(verdict.sentence,
            "B worse than A by 0.0095 ± 0.0066 nats over 4 seeds (p = 0.019, paired t over the same batches), held-out "
            "nll at the end");
  EXPECT_EQ(compared({.baseline = "B"}).verdicts[0].outcome, Outcome::better);
  EXPECT_EQ(compared({.baseline = "9e-3-2"}).verdicts[0].group, 0u);
}

TEST_F(Comparing, OverOtherBatchesTheTestIsWelchs) {
  add_seeds("1e-3", {3.212, 3.198, 3.225, 3.207}, "d");
  for (int i = 1; i <= 3; ++i)
    add({.name = "b" + std::to_string(i),
         .seed = std::to_string(i + 10),
         .held_out = std::vector<double>{3.19, 3.25, 3.17}[static_cast<std::size_t>(i - 1)],
         .numerics = {{"optimizer.with.lr", "9e-3"}}});
  const Verdict verdict = compared().verdicts.at(0);
  EXPECT_EQ(verdict.outcome, Outcome::cannot_tell);
  EXPECT_EQ(verdict.sentence,
            "cannot tell B from A: B is lower by 0.007 ± 0.097 nats over 3 seeds (p = 0.8, Welch's t), held-out nll at "
            "the end");
}

TEST_F(Comparing, OneSeedEachCannotTellUnlessTheNoiseIsKnown) {
  add_seeds("1e-3", {3.2});
  add_seeds("9e-3", {3.3});
  EXPECT_EQ(compared().verdicts.at(0).sentence,
            "cannot tell B from A: one seed each, and how far seeds differ is not known; B is higher by 0.1000 nats, "
            "held-out nll at the end. Run both with more seeds (sweep: {seeds: 3})");
  // A third group shows how far seeds differ.
  add_seeds("5e-3", {3.25, 3.251, 3.249, 3.25});
  const Comparison all = compared();
  EXPECT_EQ(all.verdicts.at(0).outcome, Outcome::worse);
  EXPECT_EQ(all.verdicts.at(0).method, "t with the spread of seeds that other groups show");
  EXPECT_THAT(all.verdicts.at(0).sentence, HasSubstr("adjusted for several comparisons"));
}

TEST_F(Comparing, AnOptionOfSpeedAloneLeavesTheNumbersEqual) {
  add({.name = "plain", .speed = 1000, .speed_settings = {{"train.recompute", "false"}}});
  add({.name = "recompute", .speed = 800, .speed_settings = {{"train.recompute", "true"}}});
  const Comparison all = compared();
  EXPECT_EQ(all.verdicts.at(0).outcome, Outcome::same_numbers);
  EXPECT_EQ(all.verdicts.at(0).sentence,
            "B computes the numbers of A: no setting that affects them differs, and their losses are equal bit for bit "
            "in all 40 steps that they have in common; B makes 0.80 x the tokens/s of A (one run each)");
  ASSERT_EQ(all.differences.at(0).key, "train.recompute");
  EXPECT_EQ(all.differences[0].affects, "speed");
  EXPECT_THAT(all.differences[0].variants[1].whose, ElementsAre("B"));
}

TEST_F(Comparing, SpeedsAreToldApartAboveTheNoiseOfTheMachine) {
  for (const std::string seed : {"1", "2", "3"}) {
    const double noise = seed == "2" ? 100 : 0;
    add({.name = "a" + seed, .seed = seed, .speed = 1000 + noise, .speed_settings = {{"k", "a"}}});
    add({.name = "b" + seed, .seed = seed, .speed = 1050 - noise, .speed_settings = {{"k", "b"}}});
    add({.name = "c" + seed, .seed = seed, .speed = 500 + noise, .speed_settings = {{"k", "c"}}});
  }
  const Comparison all = compared();
  EXPECT_THAT(all.verdicts.at(0).sentence,
              HasSubstr("; cannot tell their speeds apart (B makes 0.98 x the tokens/s of A, p = 0."));
  EXPECT_THAT(all.verdicts.at(1).sentence, HasSubstr("; C makes 0.51 x the tokens/s of A (p = 0.0"));
}

TEST_F(Comparing, RoundingIsNamedAsWhatItIs) {
  add({.name = "one", .speed_settings = {{"parallel.data", "1"}}});
  add({.name = "two", .speed_settings = {{"parallel.data", "2"}}, .nll = [](std::int64_t step) {
         return 8.0 / static_cast<double>(step) + (step >= 7 ? 1e-6 : 0);
       }});
  EXPECT_THAT(compared().verdicts.at(0).sentence,
              HasSubstr("their losses part at step 7 and by at most 1e-06 nats, as rounding does"));
}

TEST_F(Comparing, RunsThatDidNotEndAreHeldAgainstEachOtherWhereTheyMeet) {
  add({.name = "a", .reached = 30, .exit_code = 75, .held_out = NAN, .numerics = {{"k", "1"}}});
  add({.name = "b", .held_out = NAN, .numerics = {{"k", "2"}}, .nll = [](std::int64_t) { return 5.0; }});
  const Comparison all = compared();
  EXPECT_EQ(all.verdicts.at(0).measure, "training nll");
  EXPECT_THAT(all.verdicts.at(0).sentence, HasSubstr("training nll of the steps up to 30, the last one that all have"));
  EXPECT_THAT(all.runs[0].facts.marks, Contains("stopped at step 30"));
}

TEST_F(Comparing, NoStepInCommon) {
  add({.name = "a", .numerics = {{"k", "1"}}});
  root.write("b/record.json", R"({"schema":1,"attempts":[{}],"settings":{"k":{"value":"2","affects":"numerics"}}})");
  root.write("b/metrics.jsonl",
             "{\"event\":\"start\",\"first_step\":90}\n{\"event\":\"step\",\"step\":91,\"nll\":3}\n");
  folders.push_back(root.path() / "b");
  const Comparison all = compared();
  EXPECT_EQ(all.verdicts.at(0).outcome, Outcome::not_comparable);
  EXPECT_EQ(all.verdicts.at(0).sentence, "cannot compare B with A: they have no step in common");
  EXPECT_THAT(all.runs[1].facts.marks, Contains(StartsWith("begins at step 91")));
}

TEST_F(Comparing, OtherTextIsMeasuredInBitsPerByte) {
  add_seeds("1e-3", {3.2}, "d");
  add({.name = "b", .data_order = "e", .held_out = 3.1, .numerics = {{"data.tokenizer.with.vocabulary", "512"}}});
  EXPECT_THAT(compared().verdicts.at(0).sentence,
              AllOf(HasSubstr("B is lower by 0.0500 bits, held-out bits per byte at the end"),
                    HasSubstr("the held-out text may not be the same")));
}

TEST_F(Comparing, ARepetitionWithOneSeedCountsOnce) {
  add_seeds("1e-3", {3.21, 3.19});
  add({.name = "again", .seed = "2", .reached = 5, .exit_code = 75, .numerics = {{"optimizer.with.lr", "1e-3"}}});
  const Comparison all = compared();
  EXPECT_THAT(all.groups.at(0).counted, ElementsAre(0, 1));
  EXPECT_THAT(all.runs[2].facts.marks, Contains(HasSubstr("it counts once")));
}

TEST_F(Comparing, TokensAndTimeToALoss) {
  add({.name = "fast", .numerics = {{"k", "1"}}});
  add({.name = "slow", .speed = 500, .numerics = {{"k", "2"}}, .nll = [](std::int64_t step) {
         return 16.0 / static_cast<double>(step);
       }});
  const Comparison all = compared({.target_loss = 1});
  EXPECT_EQ(all.window, 2u);
  ASSERT_TRUE(all.runs[0].summary.reached && all.runs[1].summary.reached);
  EXPECT_EQ(all.runs[0].summary.reached->step, 9); // (8/8 + 8/9) / 2 is the first mean below 1
  EXPECT_EQ(all.runs[0].summary.reached->tokens, 900);
  EXPECT_EQ(all.runs[0].summary.reached->flops, 270'000);
  EXPECT_EQ(all.runs[1].summary.reached->step, 17);
  EXPECT_NEAR(all.runs[1].summary.reached->hours, 17 * 0.2 / 3600, 1e-12);
  EXPECT_FALSE(compared({.target_loss = 0.01}).runs[0].summary.reached);
  EXPECT_GT(compared().target_loss, 0.4); // the worse of the last losses, which both reach
}

TEST_F(Comparing, NothingLeftSaysWhatToDo) {
  root.write("a/record.json", "{}");
  folders.push_back(root.path() / "a");
  const auto nothing = compare(folders, {});
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code, Code::invalid_argument);
  EXPECT_THAT(nothing.error().render(),
              AllOf(HasSubstr("no run is left to compare"), HasSubstr("name runs that have trained")));
  add({.name = "b"});
  const Comparison all = compared();
  EXPECT_EQ(all.only_seeds, "one run: nothing to compare it with");
  ASSERT_EQ(all.left_out.size(), 1u);
  EXPECT_FALSE(compare(folders, {.baseline = "z"}).ok());
}

} // namespace
} // namespace conclave::compare
