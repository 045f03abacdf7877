// The engine over data ranks: threads of this process, each with an engine and a part of the batch.

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "conclave/testkit_ranks.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::Harness, testing::make_step, testing::settings_for;

/// The micro-batches of one data rank; what is global stays.
data::HostStep part_of(data::HostStep step, int rank, int ranks) {
  const std::size_t each = step.micro_batches.size() / static_cast<std::size_t>(ranks);
  const auto first = step.micro_batches.begin() + static_cast<std::ptrdiff_t>(each) * rank;
  step.micro_batches = {first, first + static_cast<std::ptrdiff_t>(each)};
  return step;
}

/// What all ranks' snapshots hold together; an element that two of them give fails the test.
class Assembled {
 public:
  void add(const StepEngine& engine) {
    Snapshot snapshot;
    ASSERT_TRUE(engine.snapshot(snapshot).ok());
    const std::lock_guard lock(mutex_);
    for (const TensorShard& shard : snapshot.tensors) {
      at::Tensor& whole = tensors[shard.name];
      at::Tensor& times = times_[shard.name];
      if (!whole.defined()) {
        whole = at::zeros(shard.global_shape, shard.value.options());
        times = at::zeros(shard.global_shape, at::kInt);
      }
      auto box = [&](at::Tensor view) {
        for (std::size_t axis = 0; axis < shard.offset.size(); ++axis)
          view = view.narrow(static_cast<std::int64_t>(axis), shard.offset[axis],
                             shard.value.size(static_cast<std::int64_t>(axis)));
        return view;
      };
      box(whole).copy_(shard.value);
      box(times).add_(1);
    }
  }
  void expect_each_element_once() const {
    for (const auto& [name, times] : times_) EXPECT_TRUE(times.eq(1).all().item<bool>()) << name;
  }
  std::map<std::string, at::Tensor> tensors;

 private:
  std::map<std::string, at::Tensor> times_;
  std::mutex mutex_;
};

struct Trained {
  std::vector<StepResult> steps;
  Assembled state;
};

struct Variant {
  int ranks = 1;
  bool shard = true;
  std::int64_t bucket = 1;
  at::ScalarType gradients = at::ScalarType::Undefined;
};

constexpr std::int64_t steps = 5, rows = 12, micro_batches = 12;

void train(EngineSettings settings, const Variant& variant, Trained& out,
           const std::function<void(Harness&, const Mesh&, std::int64_t step)>& before = {}) {
  testkit::run_ranks({.data = variant.ranks}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    EngineSettings own = settings;
    own.parallel = {mesh, groups, variant.shard, variant.gradients, variant.bucket};
    Harness harness(own);
    for (std::int64_t i = 0; i < steps; ++i) {
      if (before) before(harness, mesh, i);
      StepResult result =
          harness.step(part_of(make_step(i, rows, micro_batches), mesh.index(MeshDim::data), variant.ranks));
      if (mesh.index(MeshDim::data) == 0) out.steps.push_back(std::move(result));
    }
    out.state.add(*harness.engine);
  });
  out.state.expect_each_element_once();
}

void expect_equal(const Trained& expected, const Trained& found, double tolerance) {
  ASSERT_EQ(found.steps.size(), expected.steps.size());
  for (std::size_t i = 0; i < found.steps.size(); ++i) {
    EXPECT_NEAR(found.steps[i].loss, expected.steps[i].loss, tolerance) << i;
    EXPECT_NEAR(found.steps[i].nll, expected.steps[i].nll, tolerance) << i;
    EXPECT_NEAR(found.steps[i].grad_norm, expected.steps[i].grad_norm, tolerance) << i;
    EXPECT_EQ(found.steps[i].counters.at(0).values, expected.steps[i].counters.at(0).values) << i;
    EXPECT_EQ(found.steps[i].applied, expected.steps[i].applied) << i;
    EXPECT_EQ(found.steps[i].loss_scale, expected.steps[i].loss_scale) << i;
    for (std::size_t d = 0; d < 2; ++d)
      EXPECT_NEAR(found.steps[i].domain_nll_sum[d], expected.steps[i].domain_nll_sum[d], tolerance * 100) << i;
  }
  ASSERT_EQ(found.state.tensors.size(), expected.state.tensors.size());
  for (const auto& [name, tensor] : expected.state.tensors)
    EXPECT_LT((found.state.tensors.at(name) - tensor).abs().max().item<double>(), tolerance) << name;
}

TEST(DataParallel, AnyNumberOfRanksComputesTheSameRun) {
  Trained one;
  train(settings_for(at::kDouble), {}, one);
  for (const int ranks : {2, 3, 4})
    for (const bool shard : {true, false})
      for (const std::int64_t bucket : {std::int64_t{1}, std::int64_t{200}, std::int64_t{1} << 20}) {
        SCOPED_TRACE(std::to_string(ranks) + " ranks, shard " + std::to_string(shard) + ", bucket " +
                     std::to_string(bucket));
        Trained many;
        train(settings_for(at::kDouble), {ranks, shard, bucket}, many);
        expect_equal(one, many, 1e-12);
      }
}

TEST(DataParallel, ShardingChangesNoBit) { // the reduction is the same sum, scattered or not
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    Trained whole, sharded;
    train(settings_for(compute), {4, false}, whole);
    train(settings_for(compute), {4, true}, sharded);
    for (const auto& [name, tensor] : whole.state.tensors)
      EXPECT_TRUE(tensor.equal(sharded.state.tensors.at(name))) << name;
    for (std::size_t i = 0; i < whole.steps.size(); ++i) EXPECT_EQ(whole.steps[i].loss, sharded.steps[i].loss) << i;
  }
}

TEST(DataParallel, AnOverflowOnOneRankSkipsTheStepOnAll) {
  auto settings = settings_for(at::kHalf);
  settings.loss_scale.initial = 1024;
  const auto before = [](Harness& harness, const Mesh& mesh, std::int64_t step) {
    harness.stage->loss_factor = step == 2 && mesh.index(MeshDim::data) == 1 ? 1e8 : 1;
  };
  Trained many;
  train(settings, {3, true}, many, before);
  for (std::size_t i = 0; i < many.steps.size(); ++i) EXPECT_EQ(many.steps[i].applied, i != 2) << i;
  EXPECT_EQ(many.steps[2].loss_scale, 512);
}

TEST(DataParallel, AWishToStopReachesEveryRank) {
  testkit::run_ranks({.data = 2}, [](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    auto settings = settings_for(at::kFloat);
    settings.parallel = {mesh, groups};
    Harness harness(settings);
    const auto step = part_of(make_step(0, 4, 2), mesh.index(MeshDim::data), 2);
    EXPECT_FALSE(harness.step(step).stop);
    if (mesh.index(MeshDim::data) == 1) harness.engine->request_stop();
    EXPECT_TRUE(harness.step(step).stop);
  });
}

TEST(DataParallel, GradientsMayTravelInBf16) {
  Trained one, many;
  train(settings_for(at::kFloat), {}, one);
  train(settings_for(at::kFloat), {2, true, 1, at::kBFloat16}, many);
  expect_equal(one, many, 0.02);
  EXPECT_FALSE(one.state.tensors.at("w2").equal(many.state.tensors.at("w2"))) << "nothing was rounded";
}

TEST(DataParallel, EvaluationCountsEveryRanksTokens) {
  Harness alone(settings_for(at::kDouble));
  const auto whole = alone.engine->evaluate(make_step(3, 12, 4));
  ASSERT_TRUE(whole.ok());
  testkit::run_ranks({.data = 2}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    auto settings = settings_for(at::kDouble);
    settings.parallel = {mesh, groups};
    Harness harness(settings);
    const auto sums = harness.engine->evaluate(part_of(make_step(3, 12, 4), mesh.index(MeshDim::data), 2));
    ASSERT_TRUE(sums.ok());
    EXPECT_EQ(sums->tokens, whole->tokens);
    for (std::size_t d = 0; d < 2; ++d) EXPECT_NEAR(sums->nll[d], whole->nll[d], 1e-12);
  });
}

TEST(DataParallel, AParameterMustSayHowItLiesOverTheRanks) {
  struct Silent final : testing::TinyStage {
    using TinyStage::TinyStage;
    [[nodiscard]] StageDescription describe() const override {
      StageDescription description = TinyStage::describe();
      description.parameters[3].replicated_over.clear();
      description.parameters[3].grad_sum_over.clear();
      return description;
    }
  };
  testkit::run_ranks({.data = 2}, [](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    auto settings = settings_for(at::kFloat);
    settings.parallel = {mesh, groups};
    auto made = make_step_engine(settings, testing::parts_of(std::make_unique<Silent>(at::kFloat, at::kFloat),
                                                             std::make_shared<testing::Momentum>()));
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.error().what.find("`w2` does not say how it lies over the ranks"), std::string::npos);
  });
}

} // namespace
} // namespace conclave
