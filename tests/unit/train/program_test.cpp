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

using Hook = std::function<Status(const train::StepProgram&)>;

struct HookExecutor final : train::StepExecutor {
  explicit HookExecutor(Hook body) : hook(std::move(body)) {}
  Status run(const train::StepProgram& program) override { return hook(program); }
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

Status run_all(const train::StepProgram& program) { return train::EagerExecutor().run(program); }

/// A step of micro-batches of these rows, 6 tokens long.
data::HostStep mixed_step(std::int64_t index, std::initializer_list<std::int64_t> rows) {
  data::HostStep step;
  std::int64_t n = 0;
  for (const std::int64_t count : rows) {
    data::HostStep part = make_step(index * 10 + n++, count, 1);
    step.micro_batches.push_back(std::move(part.micro_batches[0]));
    step.global_loss_tokens += part.global_loss_tokens;
    step.global_sequences += part.global_sequences;
  }
  step.batch_index = index;
  return step;
}

TEST(Program, EachMicroBatchIsARunOfCapturableSegments) {
  std::vector<std::pair<std::string, std::string>> seen; // name and key
  Rig rig([&](const train::StepProgram& program) {
    seen.clear();
    for (const train::ProgramSegment& segment : program.segments()) {
      EXPECT_EQ(segment.kind == Kind::host, segment.key.empty()) << segment.name;
      seen.emplace_back(segment.name, segment.key);
    }
    return run_all(program);
  });
  rig.step(mixed_step(0, {2, 3, 2}));
  const std::string first = seen[2].second, middle = seen[6].second, last = seen[10].second;
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"upload", ""},          {"load 0", ""},       {"begin 0", first},  {seen[3].first, first},
      {seen[4].first, first},  {"load 1", ""},       {"begin 1", middle}, {seen[7].first, middle},
      {seen[8].first, middle}, {"load 2", ""},       {"begin 2", last},   {seen[11].first, last},
      {seen[12].first, last},  {"update", "update"}, {"read", ""}};
  EXPECT_EQ(seen, expected);
  EXPECT_NE(first, middle);
  EXPECT_NE(first, last) << "the last micro-batch completes gradients";
  rig.step(mixed_step(1, {2, 2, 2}));
  EXPECT_EQ(seen[2].second, first);
  EXPECT_EQ(seen[10].second, last);
  rig.step(mixed_step(2, {2}));
  EXPECT_NE(seen[2].second, first) << "first and last";
}

TEST(Program, MicroBatchesOfEqualShapeReadTheSameTensors) {
  Rig rig(run_all);
  std::map<std::int64_t, std::vector<const void*>> first; // by rows
  for (std::int64_t i = 0; i < 9; ++i) {
    rig.stage->seen.clear();
    rig.step(i % 2 == 0 ? mixed_step(i, {2, 3, 2}) : mixed_step(i, {3, 3}));
    ASSERT_TRUE(rig.engine->evaluate(mixed_step(i + 50, {3, 2})).ok());
    const std::vector<std::int64_t> rows =
        i % 2 == 0 ? std::vector<std::int64_t>{2, 3, 2} : std::vector<std::int64_t>{3, 3};
    ASSERT_EQ(rig.stage->seen.size(), rows.size());
    for (std::size_t n = 0; n < rows.size(); ++n)
      EXPECT_EQ(rig.stage->seen[n], first.try_emplace(rows[n], rig.stage->seen[n]).first->second) << "step " << i;
  }
}

// An executor that keeps the first run of each key and takes it ever after, as a replay would, with host state spoilt before:
// it must be set inside of the run. Every step's data is gone when the next one comes.
TEST(Program, TheFirstRunOfAKeyServesAllLaterOnes) {
  for (const at::ScalarType compute : {at::kFloat, at::kHalf}) {
    std::map<std::string, std::vector<train::ProgramSegment>> kept;
    std::size_t served = 0;
    Rig* rig = nullptr;
    Rig replaying(
        [&](const train::StepProgram& program) -> Status {
          const std::vector<train::ProgramSegment>& segments = program.segments();
          for (std::size_t i = 0; i < segments.size();) {
            std::vector<train::ProgramSegment> run;
            do run.push_back(segments[i++]);
            while (run[0].kind != Kind::host && i < segments.size() && segments[i].key == run[0].key);
            if (run[0].kind != Kind::host) {
              for (BoundParam& parameter : rig->stage->bound.parameters) {
                parameter.sink->begin_step();
                if (served++ % 2 == 0) {
                  parameter.sink->begin_last_micro_batch();
                  parameter.sink->ready();
                }
              }
              run = kept.try_emplace(run[0].key, run).first->second;
            }
            for (const train::ProgramSegment& segment : run) CONCLAVE_RETURN_IF_ERROR(segment.run());
          }
          return {};
        },
        compute);
    rig = &replaying;
    Rig straight(run_all, compute);
    for (std::int64_t i = 0; i < 12; ++i) {
      const data::HostStep step = i % 4 == 0   ? mixed_step(i, {2})
                                  : i % 4 == 1 ? mixed_step(i, {2, 3, 3, 2})
                                  : i % 4 == 2 ? mixed_step(i, {3, 2})
                                               : mixed_step(i, {2, 2});
      const bool overflow = i == 5 && compute == at::kHalf;
      replaying.stage->loss_factor = straight.stage->loss_factor = overflow ? 1e8 : 1;
      const StepResult found = replaying.step(step), expected = straight.step(step);
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
