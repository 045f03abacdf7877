// The advice of `check`.

#include "config/advice.hpp"

#include <gtest/gtest.h>

#include "conclave/scheduler.hpp"
#include "config/experiment.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::FakeCatalog;
using testing::Folder;

class Advice : public ::testing::Test {
 protected:
  void SetUp() override {
    Diagnostics diagnostics;
    const std::string file = folder_.write("x.yaml", testing::minimal("checkpoint: {use: checkpoint/keep-last}\n"));
    experiment_ = load_experiment(file, {{"scheduler.with.warmup=1", "optimizer.with.lr=1e-3"}}, catalog_, diagnostics);
    ASSERT_TRUE(experiment_.has_value()) << diagnostics.render();
  }
  std::string advice(const AdviceInput& input) {
    Diagnostics diagnostics;
    add_advice(input, *experiment_, diagnostics);
    return testing::without_folder(diagnostics.render(), folder_);
  }
  Folder folder_;
  FakeCatalog catalog_;
  std::optional<Experiment> experiment_;
};

TEST_F(Advice, SaysNothingInsideTheRanges) {
  for (const std::int64_t warmup : {50, 75, 100})
    for (const double clip : {0.5, 1.0}) EXPECT_EQ(advice({1000, warmup, 1e-4, 10'000'000'000, clip}), "");
  EXPECT_EQ(advice({1000, 50, 1e-3, 1'000'000'000, 1}), "") << "a small model may learn faster";
  EXPECT_EQ(advice({1000, Scheduler::no_warmup, 1e-4, 0, 1}), "") << "a schedule without that notion";
  EXPECT_EQ(advice({.total_steps = 1000, .clip_grad_norm = 1}), "") << "a warm-up that is not known";
}

TEST_F(Advice, HintsOutsideThem) {
  EXPECT_EQ(
      advice({1000, 0, 1e-4, 0, 1}),
      "--set #1: hint: scheduler: there is no warm-up: 5 to 10 % served runs like this one well: 50 to 100 steps\n");
  EXPECT_EQ(advice({1000, 20, 1e-4, 0, 1}),
            "--set #1: hint: scheduler: the warm-up takes 2 % of the steps: 5 to 10 % served runs like this one well: "
            "50 to 100 steps\n");
  EXPECT_EQ(advice({1000, 2000, 1e-4, 0, 1}),
            "--set #1: hint: scheduler: the warm-up takes 2000 steps of 1000: make it shorter than train.steps\n");
  EXPECT_EQ(advice({1000, 50, 1e-3, 10'200'000'000, 1}),
            "--set #2: hint: optimizer: the peak learning rate is 0.001 for 10.2B parameters: 5e-5 to 1e-4 served "
            "models of this size well\n");
  EXPECT_EQ(
      advice({1000, 50, 1e-4, 0, 0}),
      "x.yaml:8:8: hint: train.clip_grad_norm: gradients are not clipped: 0.5 to 1.0 served runs like this one well\n");
  EXPECT_EQ(advice({1000, 50, 1e-4, 0, 5}),
            "x.yaml:8:8: hint: train.clip_grad_norm: gradients are clipped at 5: 0.5 to 1.0 served runs like this one "
            "well\n");
}

TEST_F(Advice, HintsAtInputsThatAreNotThere) {
  Diagnostics missing;
  add_path_hints(*experiment_, missing);
  EXPECT_EQ(testing::without_folder(missing.render(), folder_),
            "x.yaml:3:61: hint: data.domains.web.source.with.paths: there is nothing at a.jsonl on this machine: `run` "
            "needs it\n");
  folder_.write("a.jsonl", "");
  Diagnostics there;
  add_path_hints(*experiment_, there);
  EXPECT_EQ(there.render(), "");
}

} // namespace
} // namespace conclave
