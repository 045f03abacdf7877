// A pass of evaluation counts every held-out sequence once, however small a domain is.

#include "run/evaluation.hpp"

#include <gtest/gtest.h>

#include <map>

#include "unit/data/fakes.hpp"

namespace conclave {
namespace {

/// Gives every counted label one nat, and remembers which labels were counted.
class CountingEngine final : public StepEngine {
 public:
  Result<EvaluationSums> evaluate(const data::HostStep& step) override {
    EvaluationSums sums{{0, 0}, {0, 0}};
    ++batches;
    for (const data::HostMicroBatch& micro : step.micro_batches)
      for (std::size_t cell = 0; cell < micro.labels.size(); ++cell) {
        if (micro.loss_mask[cell] == 0) continue;
        ++counted[micro.labels[cell]];
        const auto domain = static_cast<std::size_t>(micro.domains[cell / static_cast<std::size_t>(micro.length)]);
        sums.nll[domain] += 1;
        ++sums.tokens[domain];
      }
    return sums;
  }
  std::map<std::int64_t, int> counted;
  int batches = 0;

  Result<StepResult> step(const data::HostStep&) override { return internal_error("not asked for"); }
  [[nodiscard]] std::int64_t optimizer_steps() const override { return 0; }
  void request_stop() override {}
  Status snapshot(Snapshot&) const override { return {}; }
  Status restore(const CheckpointReader&) override { return {}; }
  [[nodiscard]] const std::vector<StageDescription>& descriptions() const override { return descriptions_; }
  [[nodiscard]] at::Tensor master(const std::string&) const override { return {}; }
  [[nodiscard]] at::Tensor gradient(const std::string&) const override { return {}; }

 private:
  std::vector<StageDescription> descriptions_;
};

std::shared_ptr<const data::TokenStore> unlike_domains() {
  std::vector<std::vector<std::vector<std::int32_t>>> domains(2, {{}});
  std::int32_t token = 1;
  for (int i = 0; i < 3 * 8 + 1; ++i) domains[0][0].push_back(token++); // three sequences of 8
  for (int i = 0; i < 50 * 8 + 1; ++i) domains[1][0].push_back(token++);
  return std::make_shared<data::testing::MemoryStore>(std::vector<double>{0.5, 0.5}, domains);
}

Experiment two_batches_of_sixteen() {
  Experiment experiment;
  experiment.data.length.max = 8;
  experiment.train.batch = experiment.train.micro_batch = 16;
  experiment.evaluate.batches = 2;
  return experiment;
}

TEST(Evaluation, TheRanksTakeTurnsAndCallEquallyOften) {
  const Experiment experiment = two_batches_of_sixteen();
  Logger log(/*quiet=*/true);
  std::map<std::int64_t, int> counted;
  for (int rank = 0; rank < 2; ++rank) {
    const Mesh mesh({1, 2, 1, 1, 2, 1}, {0, rank, 0, 0, rank, 0});
    const auto evaluation = Evaluation::make(experiment, unlike_domains(), mesh, log);
    CountingEngine engine;
    ASSERT_TRUE(evaluation.run(engine, 1, 0).ok());
    EXPECT_EQ(engine.batches, 1 + 1)
        << "the small domain's only batch is rank 0's; rank 1 brings one in which nothing counts";
    for (const auto& [label, times] : engine.counted) counted[label] += times;
  }
  for (const auto& [label, times] : counted) EXPECT_EQ(times, 1) << "token " << label;
  EXPECT_EQ(static_cast<std::int64_t>(counted.size()), 3 * 8 + 2 * 16 * 8) << "what one rank evaluates";
}

TEST(Evaluation, CountsNoHeldOutSequenceTwice) {
  const Experiment experiment = two_batches_of_sixteen();
  Logger log(/*quiet=*/true);
  const auto evaluation = Evaluation::make(experiment, unlike_domains(), Mesh(), log);
  CountingEngine engine;
  const auto report = evaluation.run(engine, 1, 0);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(engine.batches, 1 + 2) << "the small domain has one batch, the other as many as were asked for";
  std::int64_t small = 0;
  for (const auto& [label, times] : engine.counted) {
    EXPECT_EQ(times, 1) << "token " << label;
    small += label <= 25;
  }
  EXPECT_EQ(small, 3 * 8);
  EXPECT_EQ(static_cast<std::int64_t>(engine.counted.size()), 3 * 8 + 2 * 16 * 8);
}

} // namespace
} // namespace conclave
