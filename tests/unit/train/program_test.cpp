// What a capturable segment promises (train/step_program.hpp), as far as a CPU can show it.

#include "train/step_program.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "train/engine.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::make_step, testing::settings_for;
using Kind = train::ProgramSegment::Kind;

/// Notes where each training batch lies.
struct WatchedStage final : testing::TinyStage {
  using TinyStage::TinyStage;
  StageOutput forward(const StageInput& input) override {
    if (input.training)
      seen.push_back({input.batch->tokens.const_data_ptr(), input.batch->labels.const_data_ptr(),
                      input.batch->loss_mask.const_data_ptr(), input.batch->token_mask.const_data_ptr(),
                      input.batch->domains.const_data_ptr()});
    return TinyStage::forward(input);
  }
  std::vector<std::vector<const void*>> seen;
};

using Hook = std::function<Status(const train::StepProgram&, const std::string& key)>;

struct HookExecutor final : train::StepExecutor {
  explicit HookExecutor(Hook body) : hook(std::move(body)) {}
  Status run(const train::StepProgram& program, const std::string& key) override { return hook(program, key); }
  Hook hook;
};

struct Rig {
  explicit Rig(Hook hook, at::ScalarType compute = at::kFloat) {
    at::set_num_threads(1);
    auto owned = std::make_unique<WatchedStage>(compute, at::kFloat);
    stage = owned.get();
    EngineParts parts = testing::parts_of(std::move(owned), std::make_shared<testing::Momentum>());
    auto settings = settings_for(compute);
    settings.loss_scale.initial = 1024;
    settings.loss_scale.interval = 2;
    engine =
        std::make_unique<train::Engine>(settings, std::move(parts), std::make_unique<HookExecutor>(std::move(hook)));
    if (!engine->prepare().ok()) throw std::runtime_error("prepare");
  }
  StepResult step(const data::HostStep& step) {
    auto result = engine->step(step);
    if (!result.ok()) throw std::runtime_error(result.error().render());
    return std::move(result).value();
  }
  WatchedStage* stage = nullptr;
  std::unique_ptr<train::Engine> engine;
};

Status run_all(const train::StepProgram& program, const std::string& key) {
  return train::EagerExecutor().run(program, key);
}

TEST(Program, HasOneRunOfCapturableSegmentsBetweenTwoHostSegments) {
  std::vector<Kind> kinds;
  Rig rig([&](const train::StepProgram& program, const std::string& key) {
    kinds.clear();
    for (const train::ProgramSegment& segment : program.segments()) kinds.push_back(segment.kind);
    return run_all(program, key);
  });
  for (const std::int64_t micro_batches : {1, 2, 3}) {
    rig.step(make_step(0, 6, micro_batches));
    ASSERT_GE(kinds.size(), 3U);
    EXPECT_EQ(kinds.front(), Kind::host);
    EXPECT_EQ(kinds.back(), Kind::host);
    for (std::size_t i = 1; i + 1 < kinds.size(); ++i) EXPECT_EQ(kinds[i], Kind::capturable) << i;
  }
}

TEST(Program, StepsOfEqualShapeReadTheSameTensors) {
  Rig rig(run_all);
  std::map<std::int64_t, std::vector<std::vector<const void*>>> first; // by number of micro-batches
  for (std::int64_t i = 0; i < 9; ++i) {
    const std::int64_t micro_batches = i % 3 + 1;
    rig.stage->seen.clear();
    rig.step(make_step(i, 6, micro_batches));
    ASSERT_TRUE(rig.engine->evaluate(make_step(i + 50, 6, micro_batches)).ok());
    ASSERT_EQ(rig.stage->seen.size(), static_cast<std::size_t>(micro_batches));
    EXPECT_EQ(rig.stage->seen, first.try_emplace(micro_batches, rig.stage->seen).first->second) << "step " << i;
  }
}

// An executor that keeps the capturable segments of a key's first step and runs those ever after, as a replay would, with
// host state spoilt before: it must be set inside of them. Every step's data is gone when the next one comes.
TEST(Program, SegmentsOfAKeysFirstStepServeAllLaterOnes) {
  for (const at::ScalarType compute : {at::kFloat, at::kHalf}) {
    std::map<std::string, train::StepProgram> kept;
    Rig* rig = nullptr;
    Rig replaying(
        [&](const train::StepProgram& program, const std::string& key) -> Status {
          const train::StepProgram& first = kept.try_emplace(key, program).first->second;
          EXPECT_EQ(first.segments().size(), program.segments().size());
          bool spoilt = false;
          for (std::size_t i = 0; i < program.segments().size(); ++i) {
            const bool host = program.segments()[i].kind == Kind::host;
            if (!host && !std::exchange(spoilt, true)) {
              for (BoundParam& parameter : rig->stage->bound.parameters) {
                parameter.sink->begin_last_micro_batch();
                parameter.sink->ready();
              }
            }
            CONCLAVE_RETURN_IF_ERROR((host ? program : first).segments()[i].run());
          }
          return {};
        },
        compute);
    rig = &replaying;
    Rig straight(run_all, compute);
    for (std::int64_t i = 0; i < 10; ++i) {
      const std::int64_t micro_batches = i % 3 + 1;
      const bool overflow = i == 5 && compute == at::kHalf;
      replaying.stage->loss_factor = straight.stage->loss_factor = overflow ? 1e8 : 1;
      const StepResult found = replaying.step(make_step(i, 6, micro_batches)),
                       expected = straight.step(make_step(i, 6, micro_batches));
      EXPECT_EQ(found.loss, expected.loss) << "step " << i;
      EXPECT_EQ(found.losses, expected.losses);
      EXPECT_EQ(found.nll, expected.nll);
      if (!overflow) {
        EXPECT_EQ(found.grad_norm, expected.grad_norm); // else both are NaN
      }
      EXPECT_EQ(found.applied, !overflow);
      EXPECT_EQ(found.loss_scale, expected.loss_scale);
      EXPECT_EQ(found.loss_tokens, expected.loss_tokens);
      EXPECT_EQ(found.domain_nll_sum, expected.domain_nll_sum);
      EXPECT_EQ(found.domain_tokens, expected.domain_tokens);
      EXPECT_EQ(found.counters.at(0).values, expected.counters.at(0).values);
    }
    for (const char* name : {"embed", "w1.fused", "b1", "w2"})
      EXPECT_TRUE(replaying.engine->master(name).equal(straight.engine->master(name))) << name;
  }
}

TEST(StepMetrics, SumsKeepTheirPlaceFromStepToStep) {
  train::StepMetrics metrics(1, at::kCPU);
  auto output = [](std::initializer_list<std::pair<const char*, double>> losses) {
    StageOutput out;
    for (const auto& [name, sum] : losses)
      out.local_losses.push_back({name, at::full({}, sum, at::kFloat), 0.5, Normaliser::sequences});
    return out;
  };
  metrics.begin();
  ASSERT_TRUE(metrics.add(output({{"a", 1}, {"b", 0}}), {}).ok());
  ASSERT_TRUE(metrics.add(output({{"a", 2}, {"b", 4}}), {}).ok());
  ASSERT_EQ(metrics.losses().size(), 2U);
  const at::Tensor a = metrics.losses()[0].sum, b = metrics.losses()[1].sum;
  EXPECT_EQ(a.item<double>(), 3);
  EXPECT_EQ(b.item<double>(), 4);

  metrics.begin(); // a replay adds to what was recorded and calls nobody
  a.add_(7);
  b.add_(9);
  ASSERT_EQ(metrics.losses().size(), 2U);
  EXPECT_EQ(metrics.losses()[0].name, "a");
  EXPECT_EQ(metrics.losses()[0].sum.item<double>(), 7);
  EXPECT_EQ(metrics.losses()[0].weight, 0.5);
  EXPECT_EQ(metrics.losses()[0].normaliser, Normaliser::sequences);
  EXPECT_EQ(metrics.losses()[1].sum.item<double>(), 9);

  metrics.begin();
  ASSERT_TRUE(metrics.add(output({{"a", 1}, {"b", 2}}), {}).ok());
  EXPECT_EQ(metrics.losses()[0].sum.const_data_ptr(), a.const_data_ptr());
  EXPECT_EQ(a.item<double>(), 1);

  for (const auto& other : {output({{"a", 1}}), output({{"b", 1}, {"a", 1}}), output({{"a", 1}, {"b", 1}, {"c", 1}})}) {
    const Status refused = metrics.add(other, {});
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().what.find("the model's losses were a b and are now"), std::string::npos);
  }
}

} // namespace
} // namespace conclave
