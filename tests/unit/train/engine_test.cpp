// What a step does, on a stage small enough to check by other means.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "train/batch_transfer.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::Harness, testing::make_step, testing::settings_for;

const std::vector<std::string> names = {"embed", "w1.fused", "b1", "w2"};

std::vector<at::Tensor> masters(const Harness& harness) {
  std::vector<at::Tensor> out;
  for (const std::string& name : names) out.push_back(harness.engine->master(name).clone());
  return out;
}

void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << names[i];
}

bool any_difference(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!a[i].equal(b[i])) return true;
  return false;
}

// The gradient of the step's loss by plain autograd on an engine's weights, without any of the engine's machinery.
std::vector<at::Tensor> plain_gradients(Harness& harness, const data::HostStep& step) {
  std::vector<at::Tensor> leaves;
  StageStorage storage = harness.stage->bound;
  for (BoundParam& parameter : storage.parameters) {
    parameter = {parameter.value.detach().clone().set_requires_grad(true), nullptr};
    leaves.push_back(parameter.value);
  }
  testing::TinyStage copy(harness.stage->compute, harness.stage->master);
  EXPECT_TRUE(copy.bind(std::move(storage)).ok());
  at::Tensor loss;
  for (const data::HostMicroBatch& micro : step.micro_batches) {
    const Batch batch = train::to_device(micro, at::kCPU, step.global_loss_tokens, step.global_sequences);
    StageInput input;
    input.batch = &batch;
    input.training = false;
    const StageOutput output = copy.forward(input);
    const at::Tensor part = output.local_losses[0].sum / static_cast<double>(step.global_loss_tokens) +
                            0.1 * output.local_losses[1].sum / static_cast<double>(step.global_sequences);
    loss = loss.defined() ? loss + part : part;
  }
  return torch::autograd::grad({loss}, leaves);
}

TEST(Engine, GradientsEqualPlainAutograd) {
  Harness harness(settings_for(at::kDouble));
  const auto step = make_step(0, 6, 2);
  const auto expected = plain_gradients(harness, step);
  const StepResult result = harness.step(step);
  double squares = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_LT((harness.engine->gradient(names[i]) - expected[i]).abs().max().item<double>(), 1e-14) << names[i];
    squares += expected[i].square().sum().item<double>();
  }
  EXPECT_NEAR(result.grad_norm, std::sqrt(squares), 1e-13) << "the tied embedding counts once";
  EXPECT_TRUE(result.applied && result.finite);
}

TEST(Engine, AccumulationEqualsOneBatch) {
  Harness whole(settings_for(at::kDouble)), parts(settings_for(at::kDouble));
  for (std::int64_t i = 0; i < 5; ++i) {
    const StepResult a = whole.step(make_step(i, 12, 1)), b = parts.step(make_step(i, 12, 6));
    EXPECT_NEAR(a.loss, b.loss, 1e-13);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-13);
    for (std::size_t d = 0; d < 2; ++d) EXPECT_NEAR(a.domain_nll_sum[d], b.domain_nll_sum[d], 1e-12);
  }
  const auto a = masters(whole), b = masters(parts);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 1e-12) << names[i];
}

TEST(Engine, ReportsLossesCountersAndDomains) {
  Harness harness(settings_for(at::kFloat));
  const auto step = make_step(3, 6, 2);
  const StepResult result = harness.step(step);
  ASSERT_EQ(result.losses.size(), 2U);
  EXPECT_EQ(result.losses[0].first, "cross_entropy");
  EXPECT_NEAR(result.loss, result.losses[0].second + 0.1 * result.losses[1].second, 1e-9);
  EXPECT_NEAR(result.nll, result.losses[0].second, 1e-6);
  EXPECT_EQ(result.loss_tokens, step.global_loss_tokens);
  EXPECT_EQ(result.domain_tokens[0] + result.domain_tokens[1], step.global_loss_tokens);
  EXPECT_NEAR(result.domain_nll_sum[0] + result.domain_nll_sum[1], result.nll * static_cast<double>(result.loss_tokens),
              1e-6);
  ASSERT_EQ(result.counters.size(), 1U);
  EXPECT_EQ(result.counters[0].name, "expert_load");
  EXPECT_EQ(result.counters[0].values[0] + result.counters[0].values[1] + result.counters[0].values[2], 30);
}

TEST(Engine, OverflowHalvesTheScaleAndAppliesNothing) {
  auto settings = settings_for(at::kHalf);
  settings.loss_scale.interval = 3;
  settings.loss_scale.initial = 1024;
  Harness harness(settings);
  EXPECT_TRUE(harness.step(make_step(0, 6, 2)).applied);
  const auto before = masters(harness);
  const at::Tensor bias = harness.stage->bound.buffers[1].clone();
  const at::Tensor momentum = harness.optimizer->seen[0].states[0].clone();

  harness.stage->loss_factor = 1e8; // beyond fp16 in the backward pass
  const StepResult bad = harness.step(make_step(1, 6, 2));
  EXPECT_FALSE(bad.applied || bad.finite);
  EXPECT_EQ(bad.loss_scale, 512);
  EXPECT_EQ(harness.engine->optimizer_steps(), 1);
  expect_equal(before, masters(harness));
  EXPECT_TRUE(bias.equal(harness.stage->bound.buffers[1]));
  EXPECT_TRUE(momentum.equal(harness.optimizer->seen[0].states[0]));

  harness.stage->loss_factor = 1;
  for (const double scale : {512, 512, 1024}) { // grows after the interval of finite steps
    const StepResult good = harness.step(make_step(2, 6, 2));
    EXPECT_TRUE(good.applied);
    EXPECT_EQ(good.loss_scale, scale);
  }
  EXPECT_EQ(harness.engine->optimizer_steps(), 4);
  EXPECT_TRUE(any_difference(before, masters(harness)));
  EXPECT_FALSE(bias.equal(harness.stage->bound.buffers[1]));
}

TEST(Engine, LossScaleDoesNotChangeTheUpdate) {
  auto settings = settings_for(at::kHalf);
  settings.loss_scale.initial = 2048;
  Harness scaled(settings);
  settings.loss_scale.initial = 256;
  Harness less(settings);
  const StepResult a = scaled.step(make_step(0, 6, 2)), b = less.step(make_step(0, 6, 2));
  EXPECT_NEAR(a.grad_norm, b.grad_norm, 2e-3 * b.grad_norm);
  EXPECT_EQ(a.loss, b.loss);
}

TEST(Engine, NanAppliesNothingAndTheNextStepIsClean) {
  Harness harness(settings_for(at::kFloat)), straight(settings_for(at::kFloat));
  const auto before = masters(harness);
  harness.stage->loss_factor = std::numeric_limits<double>::quiet_NaN();
  const StepResult bad = harness.step(make_step(0, 6, 3));
  EXPECT_FALSE(bad.applied || bad.finite);
  EXPECT_EQ(bad.loss_scale, 1);
  expect_equal(before, masters(harness));
  harness.stage->loss_factor = 1;
  harness.step(make_step(1, 6, 3));
  straight.step(make_step(1, 6, 3));
  expect_equal(masters(straight), masters(harness));
}

TEST(Engine, NormOverTheLimitAppliesNothing) {
  auto settings = settings_for(at::kFloat);
  settings.grad_norm_limit = 1e-4;
  Harness harness(settings);
  const auto before = masters(harness);
  const StepResult result = harness.step(make_step(0, 6, 1));
  EXPECT_FALSE(result.applied);
  EXPECT_TRUE(result.finite);
  EXPECT_GT(result.grad_norm, 1e-4);
  EXPECT_EQ(harness.engine->optimizer_steps(), 0);
  expect_equal(before, masters(harness));
  EXPECT_EQ(harness.stage->bound.buffers[1].abs().sum().item<float>(), 0);
}

TEST(Engine, ClipsTheUpdateToTheLimit) {
  auto settings = settings_for(at::kDouble);
  settings.clip_grad_norm = 1e-3;
  Harness harness(settings);
  const auto before = masters(harness);
  harness.step(make_step(0, 6, 1));
  double squares = 0;
  const auto after = masters(harness);
  for (std::size_t i = 0; i < names.size(); ++i) squares += (after[i] - before[i]).square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(squares), 0.1 * 1e-3, 1e-3 * 1e-4); // lr times the clipped norm
}

TEST(Engine, AGradientOfNobodyIsZero) {
  Harness harness(settings_for(at::kFloat));
  harness.step(make_step(0, 6, 2));
  EXPECT_GT(harness.engine->gradient("b1").abs().sum().item<float>(), 0);
  harness.stage->skip_bias = true;
  harness.step(make_step(1, 6, 2));
  EXPECT_EQ(harness.engine->gradient("b1").abs().sum().item<float>(), 0);
}

TEST(Engine, LowPrecisionKeepsFp32MastersAndGradients) {
  Harness harness(settings_for(at::kBFloat16));
  for (std::int64_t i = 0; i < 3; ++i) harness.step(make_step(i, 6, 3));
  EXPECT_EQ(harness.stage->bound.parameters[0].value.scalar_type(), at::kBFloat16);
  EXPECT_EQ(harness.stage->bound.parameters[2].value.scalar_type(), at::kFloat);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const at::Tensor master = harness.engine->master(names[i]);
    EXPECT_EQ(master.scalar_type(), at::kFloat);
    EXPECT_EQ(harness.engine->gradient(names[i]).scalar_type(), at::kFloat);
    const at::Tensor value = harness.stage->bound.parameters[i].value.detach();
    EXPECT_TRUE(value.equal(master.to(value.scalar_type())));
  }
}

TEST(Engine, LearnsAndWholeMatricesEqualFlatSegments) {
  Harness flat(settings_for(at::kDouble), true), whole(settings_for(at::kDouble), false);
  double first = 0, last = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    last = flat.step(make_step(0, 6, 1)).loss;
    if (i == 0) first = last;
    whole.step(make_step(0, 6, 1));
  }
  EXPECT_LT(last, 0.8 * first);
  expect_equal(masters(flat), masters(whole));
}

TEST(Engine, EvaluationChangesNothingAndSumsByDomain) {
  Harness harness(settings_for(at::kFloat));
  harness.step(make_step(0, 6, 2));
  const auto before = masters(harness);
  const at::Tensor load = harness.stage->bound.buffers[0].clone();
  const auto batch = make_step(9, 6, 2);
  auto sums = harness.engine->evaluate(batch);
  ASSERT_TRUE(sums.ok());
  expect_equal(before, masters(harness));
  EXPECT_TRUE(load.equal(harness.stage->bound.buffers[0]));
  EXPECT_EQ(sums->tokens[0] + sums->tokens[1], batch.global_loss_tokens);
  const StepResult step = harness.step(batch); // the same weights
  for (std::size_t d = 0; d < 2; ++d) EXPECT_NEAR(sums->nll[d], step.domain_nll_sum[d], 1e-5);
}

TEST(Engine, ErrorsOfPluginsCarryTheirIdAndLeaveTheEngineUsable) {
  Harness harness(settings_for(at::kFloat)), straight(settings_for(at::kFloat));
  harness.stage->throws = true;
  auto failed = harness.engine->step(make_step(0, 6, 2));
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().render().find("model/tiny"), std::string::npos) << failed.error().render();
  harness.stage->throws = false;
  harness.step(make_step(0, 6, 2));
  straight.step(make_step(0, 6, 2));
  expect_equal(masters(straight), masters(harness));

  auto bad = make_step(0, 6, 2);
  bad.micro_batches[1].labels.pop_back();
  EXPECT_FALSE(harness.engine->step(bad).ok());
  bad = make_step(0, 6, 2);
  bad.micro_batches[0].domains[0] = 2;
  EXPECT_FALSE(harness.engine->step(bad).ok());
}

struct Strange final : Scheduler {
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent&) const override {
    return step == 0 ? 0.1 : std::numeric_limits<double>::quiet_NaN();
  }
};

TEST(Engine, ALearningRateThatIsNoNumberStopsBeforeTheUpdate) {
  EngineParts parts = testing::parts_of(std::make_unique<testing::TinyStage>(at::kFloat, at::kFloat),
                                        std::make_shared<testing::Momentum>(), std::make_shared<Strange>());
  parts.scheduler_id = "scheduler/strange";
  auto engine = make_step_engine(settings_for(at::kFloat), std::move(parts));
  ASSERT_TRUE(engine.ok());
  ASSERT_TRUE((*engine)->step(make_step(0, 6, 2)).ok());
  const at::Tensor before = (*engine)->master("w2").clone();
  auto failed = (*engine)->step(make_step(1, 6, 2));
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().render().find("scheduler/strange"), std::string::npos);
  EXPECT_TRUE(before.equal((*engine)->master("w2")));
}

struct Rateless final : Optimizer {
  explicit Rateless(bool throwing) : throws(throwing) {}
  [[nodiscard]] OptimizerTraits traits() const override { return {}; }
  [[nodiscard]] double peak_learning_rate() const override {
    if (throws) throw std::runtime_error("no rate today");
    return std::numeric_limits<double>::quiet_NaN();
  }
  void step(std::span<Segment>, const UpdateScalars&) override { ADD_FAILURE() << "an update without a rate"; }
  bool throws;
};

TEST(Engine, AnOptimizerWithoutAPeakRateIsNamed) {
  for (const bool throws : {true, false}) {
    EngineParts parts = testing::parts_of(std::make_unique<testing::TinyStage>(at::kFloat, at::kFloat),
                                          std::make_shared<Rateless>(throws));
    parts.optimizer_id = "optimizer/rateless";
    auto engine = make_step_engine(settings_for(at::kFloat), std::move(parts));
    ASSERT_TRUE(engine.ok());
    auto failed = (*engine)->step(make_step(0, 6, 2));
    ASSERT_FALSE(failed.ok());
    EXPECT_NE(failed.error().render().find("optimizer/rateless"), std::string::npos) << failed.error().render();
  }
}

TEST(Engine, AStepWithoutAMicroBatchIsRefused) {
  Harness harness(settings_for(at::kFloat));
  data::HostStep empty;
  EXPECT_FALSE(harness.engine->step(empty).ok());
  EXPECT_FALSE(harness.engine->evaluate(empty).ok());
}

} // namespace
} // namespace conclave
