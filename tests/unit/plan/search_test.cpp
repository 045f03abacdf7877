// search_layouts(): all that it gives is valid, fits and is sorted, and nothing that is faster was left out.

#include "plan/search.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/report.hpp"
#include "unit/plan/block_model.hpp"

namespace conclave::plan {
namespace {

using testing::Planned;

Machine small_machine(std::int64_t memory = 1'000'000'000'000) {
  Machine machine;
  machine.name = "small";
  machine.gpu_memory = memory;
  machine.gpus_per_node = 4;
  machine.memory_bandwidth = {1e9};
  machine.kernel = {1e-6};
  machine.host_operator = {1e-6};
  machine.host_wait = {1e-6};
  machine.within_node = {{1e8}, {1e-6}};
  machine.between_nodes = {{1e7}, {1e-5}};
  machine.bf16.peak = {1e10};
  machine.bf16.product = machine.bf16.grouped_product = machine.bf16.attention = machine.bf16.attention_backward =
      RateCurve::flat({1e10});
  return machine;
}

TEST(SearchLayouts, AllAreValidFitAndAreSorted) {
  const Planned planned;
  for (const std::int64_t gpus : {1, 2, 4, 8, 16}) {
    const Machine machine = small_machine();
    const auto found = search_layouts(planned.subject(), gpus, machine, 10'000);
    ASSERT_TRUE(found.ok()) << found.error().render();
    EXPECT_EQ(found->best.size(), found->fitting);
    double before = 0;
    for (const LayoutPlan& plan : found->best) {
      EXPECT_LE(before, plan.time.seconds);
      before = plan.time.seconds;
      EXPECT_LE(plan.bytes(), machine.gpu_memory);
      EXPECT_LE(plan.choice.sizes.tensor, machine.gpus_per_node);
      const auto mesh = resolve_mesh(plan.choice.sizes, gpus, 0);
      ASSERT_TRUE(mesh.ok());
      EXPECT_EQ(mesh->world_size(), gpus);
      // Written into an experiment, it is planned to the same figures.
      Planned written;
      written.experiment.train.micro_batch = plan.choice.micro_batch;
      written.experiment.train.recompute = plan.choice.recompute;
      written.experiment.parallel.virtual_stages = plan.choice.virtual_stages;
      written.experiment.parallel.shard_optimizer = plan.choice.shard_optimizer;
      const auto again = plan_layout_on(written.subject(), *mesh, machine);
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(again->time.seconds, plan.time.seconds);
      EXPECT_EQ(fullest(*plan_memory(written.subject(), *mesh)).sum(), plan.memory.sum());
    }
  }
}

TEST(SearchLayouts, TheBestAreTheFirstOfAll) {
  const Planned planned;
  const auto all = search_layouts(planned.subject(), 8, small_machine(), 10'000),
             some = search_layouts(planned.subject(), 8, small_machine(), 3);
  ASSERT_TRUE(all.ok() && some.ok());
  ASSERT_EQ(some->best.size(), 3u);
  EXPECT_EQ(some->fitting, all->fitting);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(some->best[i].time.seconds, all->best[i].time.seconds);
}

TEST(SearchLayouts, IsNoSlowerThanAnyLayoutWrittenByHand) {
  Planned planned;
  const auto found = search_layouts(planned.subject(), 8, small_machine(), 1);
  ASSERT_TRUE(found.ok());
  for (const ParallelSizes& sizes :
       {ParallelSizes{1, 1, 1, 8}, ParallelSizes{2, 2, 4, 2}, ParallelSizes{4, 1, 8, 2}, ParallelSizes{1, 4, 2, 2}})
    for (const std::int64_t micro_batch : {1, 2}) {
      planned.experiment.train.micro_batch = micro_batch;
      const auto plan = plan_layout_on(planned.subject(), *resolve_mesh(sizes, 8, 0), small_machine());
      ASSERT_TRUE(plan.ok());
      EXPECT_LE(found->best.front().time.seconds, plan->time.seconds);
    }
}

TEST(SearchLayouts, LessMemoryLeavesFewerLayoutsAndTheRestRecompute) {
  const Planned planned;
  const auto all = search_layouts(planned.subject(), 8, small_machine(), 10'000);
  ASSERT_TRUE(all.ok());
  const auto least = std::min_element(all->best.begin(), all->best.end(), [](const auto& a, const auto& b) {
                       return a.bytes() < b.bytes();
                     })->bytes();
  const auto memory = static_cast<std::int64_t>(static_cast<double>(least) / planned_share) + 1;
  const auto tight = search_layouts(planned.subject(), 8, small_machine(memory), 10'000);
  ASSERT_TRUE(tight.ok());
  EXPECT_LT(tight->fitting, all->fitting);
  EXPECT_GT(tight->too_large, 0u);
  for (const LayoutPlan& plan : tight->best) EXPECT_LE(plan.bytes(), least);
}

TEST(SearchLayouts, SaysWhyThereIsNone) {
  const auto none = search_layouts(Planned{}.subject(), 3, small_machine(), 1);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Code::unsupported);
  EXPECT_EQ(none.error().what,
            "no layout of 3 GPUs suits the experiment (train.batch 16 is no multiple of 3 data ranks)");
  const auto large = search_layouts(Planned{}.subject(), 2, small_machine(1000), 1);
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().what.substr(0, 35), "no layout of 2 GPUs fits: pipeline ");
}

TEST(PlanLayoutOn, AModelThatDoesNotSayItsWorkHasNoTime) {
  Planned planned;
  planned.model.says_work = false;
  const auto plan = plan_layout_on(planned.subject(), {}, small_machine());
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, Code::unsupported);
  EXPECT_EQ(plan.error().what, "the model does not say what its stages compute");
}

TEST(PlanLayoutOn, TimeByHand) {
  // 16 micro-batches of 10 tokens, 4 layers of 81,920 operations, three times: at 10 GFLOP/s. Bytes take longer.
  const Planned planned;
  const auto plan = plan_layout_on(planned.subject(), {}, small_machine());
  ASSERT_TRUE(plan.ok());
  EXPECT_NEAR(plan->time[StepPart::products], 16 * 4 * 3 * std::max(81920 / 1e10, 2560 / 1e9 + 1e-6), 1e-12);
  // 34 bytes an element of bf16, 32 of fp32 that is its own master.
  constexpr double narrow = 1024 + 4 * (4096 + 32768), wide = 4 * 64;
  EXPECT_NEAR(plan->time[StepPart::update], (narrow * 34 + wide * 32) / 1e9, 1e-12);
  EXPECT_EQ(plan->time[StepPart::gradient_sums], 0);
  EXPECT_EQ(plan->time[StepPart::host], 0) << "one rank has a graph";
}

TEST(PlanLayoutOn, GradientsTravelAsTheExperimentSays) {
  Planned planned;
  const Mesh mesh = *resolve_mesh({1, 1, 1, 4}, 4, 0);
  const auto sent = [&] { return plan_layout_on(planned.subject(), mesh, small_machine())->time.sent.within_node; };
  constexpr double narrow = 1024 + 4 * (4096 + 32768), wide = 4 * 64;
  EXPECT_DOUBLE_EQ(sent(), .75 * ((narrow + wide) * 4 + narrow * 2 + wide * 4)); // gradients, and new values
  planned.experiment.parallel.gradients = GradientType::bf16;
  EXPECT_DOUBLE_EQ(sent(), .75 * ((narrow + wide) * 2 + narrow * 2 + wide * 4));
  planned.experiment.parallel.shard_optimizer = false;
  EXPECT_DOUBLE_EQ(sent(), .75 * (narrow + wide) * 2 * 2);
}

TEST(PlanReport, RatesByHand) {
  LayoutPlan plan;
  plan.mesh = *resolve_mesh({1, 1, 1, 4}, 4, 0);
  plan.time.seconds = 2;
  const PlanRates rates = rates_of(plan, {86400, 1e6, 1e9}, {1e15});
  EXPECT_DOUBLE_EQ(rates.tokens_per_second, 5e5);
  EXPECT_DOUBLE_EQ(rates.mfu, 5e5 * 1e9 / 4e15);
  EXPECT_DOUBLE_EQ(rates.days, 2);
  EXPECT_DOUBLE_EQ(rates.gpu_hours, 2 * 24 * 4);
}

TEST(PlanReport, YamlIsWhatAnExperimentReads) {
  EXPECT_EQ(yaml_of({{2, 4, 8, 16}, 2, 3, true, false}),
            "parallel: {pipeline: 4, data: 16, tensor: 2, expert: 8, virtual_stages: 2, shard_optimizer: false}\n"
            "train: {micro_batch: 3, recompute: true}\n");
}

} // namespace
} // namespace conclave::plan
