// plan_memory() against numbers done by hand.

#include "plan/memory.hpp"

#include <gtest/gtest.h>

#include "launch/ranks.hpp"
#include "unit/plan/block_model.hpp"

namespace conclave::plan {
namespace {

using testing::Planned;

constexpr std::int64_t workspaces = 64 << 20;
constexpr std::int64_t batches = 16 * (10 * (3 * 8 + 1) + 8); // tokens, labels, positions, a mask; a domain for each

std::vector<Memory> plan(const Planned& planned, const ParallelSizes& sizes, std::int64_t ranks = 0) {
  const auto mesh = resolve_mesh(sizes, ranks, 0);
  EXPECT_TRUE(mesh.ok());
  const auto memory = plan_memory(planned.subject(), *mesh);
  EXPECT_TRUE(memory.ok()) << (memory.ok() ? "" : memory.error().render());
  return memory.ok() ? *memory : std::vector<Memory>(1);
}

std::string refusal(const Planned& planned, const ParallelSizes& sizes) {
  const auto memory = plan_memory(planned.subject(), *resolve_mesh(sizes, 0, 0));
  return memory.ok() ? "" : memory.error().what;
}

TEST(PlanMemory, OneRankByHand) {
  const std::vector<Memory> ranks = plan(Planned{}, {});
  ASSERT_EQ(ranks.size(), 1u);
  const Memory& one = ranks[0];
  constexpr std::int64_t narrow = 1024 + 4 * (4096 + 32768), wide = 4 * 64; // elements in bf16, and in fp32
  EXPECT_EQ(one.weights, narrow * 2 + wide * 4);
  EXPECT_EQ(one.gradients, (narrow + wide) * 4);
  EXPECT_EQ(one.optimizer, narrow * 12 + wide * 8); // full precision: the weight is its own master
  EXPECT_EQ(one.activations, 4 * 1000 * 10 + 4 * 300 * 10);
  EXPECT_EQ(one.buffers, 64 * 4 + 64 * 8 + batches + workspaces);
  EXPECT_EQ(one.host_staging, (narrow + wide) * 12);
  EXPECT_TRUE(one.activations_known);
}

TEST(PlanMemory, InOneTypeTheWeightsAreTheMasters) {
  Planned planned;
  planned.experiment.precision.compute = Compute::fp64;
  const Memory one = plan(planned, {})[0];
  constexpr std::int64_t elements = 1024 + 4 * (64 + 4096 + 32768);
  EXPECT_EQ(one.weights, elements * 8);
  EXPECT_EQ(one.gradients, elements * 8);
  EXPECT_EQ(one.optimizer, elements * 16);
}

TEST(PlanMemory, OptimizerIsSharedByTheRanksThatSumAGradient) {
  Planned planned;
  // 8 ranks: data 4 x tensor 2, experts over 4: dense weights are summed over 4 ranks, copies over 8, experts over 2.
  const ParallelSizes sizes{2, 1, 4, 4};
  const Memory shared = plan(planned, sizes)[0];
  constexpr std::int64_t dense = 4 * 2048, experts = 4 * 8192, embed = 1024;
  EXPECT_EQ(shared.weights, (dense + experts + embed) * 2 + 512 * 4); // 256 elements of norms, in 8 parts of 64
  EXPECT_EQ(shared.gradients, (dense + experts + embed + 512) * 4);
  EXPECT_EQ(shared.optimizer, (dense / 4 + experts / 2 + embed / 8) * 12 + 512 / 8 * 8);
  EXPECT_EQ(shared.host_staging, (dense / 4 + experts / 2 + embed / 8 + 512 / 8) * 12);
  EXPECT_EQ(shared.activations, (4 * 1000 + 4 * 300) * 10 / 2);

  planned.experiment.parallel.shard_optimizer = false;
  const Memory whole = plan(planned, sizes)[0];
  EXPECT_EQ(whole.optimizer, (dense + experts + embed) * 12 + 512 * 8);
  EXPECT_EQ(whole.host_staging, shared.host_staging);
}

TEST(PlanMemory, GradientsThatTravelNarrowerNeedASecondCopy) {
  Planned planned;
  const ParallelSizes sizes{1, 1, 1, 4};
  const Memory wide = plan(planned, sizes)[0];
  planned.experiment.parallel.gradients = GradientType::bf16;
  const Memory narrow = plan(planned, sizes)[0];
  constexpr std::int64_t elements = 1024 + 4 * (64 + 4096 + 32768);
  EXPECT_EQ(narrow.buffers - wide.buffers, elements * 2 + elements / 4 * 2); // what is sent, and what comes back
  planned.experiment.parallel.shard_optimizer = false;
  EXPECT_EQ(plan(planned, sizes)[0].buffers - wide.buffers, elements * 2); // the sum comes back in place
}

TEST(PlanMemory, PipelineRanksKeepWhatIsUnderWay) {
  const std::vector<Memory> ranks = plan(Planned{}, {1, 2, 1, 1});
  ASSERT_EQ(ranks.size(), 2u);
  constexpr std::int64_t kept = 2 * 1000 * 10, working = 2 * 300 * 10, message = 10 * 64 * 2;
  // 1F1B: the first rank keeps two micro-batches. In a forward pass it still holds the last 8 outputs that it sent, the
  // newest of which is part of what is kept.
  EXPECT_EQ(ranks[0].activations, 2 * kept + working + 7 * message);
  // The last rank keeps one and sends gradients.
  EXPECT_EQ(ranks[1].activations, kept + working + 8 * message);
  constexpr std::int64_t half = 2 * (4096 + 32768), norms = 2 * 64;
  EXPECT_EQ(ranks[0].weights, (1024 + half) * 2 + norms * 4);
  EXPECT_EQ(ranks[1].weights, ranks[0].weights) << "the tied copy is the last rank's own";
}

TEST(PlanMemory, OneCopyOfATiedParameterServesBothChunksOfARank) {
  Planned planned;
  planned.experiment.parallel.virtual_stages = 2;
  const std::vector<Memory> ranks = plan(planned, {1, 2, 1, 1});
  constexpr std::int64_t half = 2 * (4096 + 32768), norms = 2 * 64;
  EXPECT_EQ(ranks[0].weights, (1024 + half) * 2 + norms * 4); // chunks 0 and 2
  EXPECT_EQ(ranks[1].weights, (1024 + half) * 2 + norms * 4); // chunks 1 and 3
  // Interleaved: 2 x 1 + (2 - 1) x 2 = 4 passes before the first backward one, which is the fifth's.
  constexpr std::int64_t kept = 1000 * 10, working = 300 * 10;
  EXPECT_GE(ranks[0].activations, 5 * kept + working);
}

TEST(PlanMemory, ManyMicroBatchesNeedNoMoreThanSome) {
  Planned planned;
  const std::int64_t some = plan(planned, {1, 4, 1, 1})[0].activations;
  planned.experiment.train.batch = 1'000'000'000;
  EXPECT_EQ(plan(planned, {1, 4, 1, 1})[0].activations, plan(planned, {1, 4, 1, 2})[0].activations);
  EXPECT_GE(plan(planned, {1, 4, 1, 1})[0].activations, some);
}

TEST(PlanMemory, RefusesWithTheArithmetic) {
  Planned planned;
  EXPECT_EQ(refusal(planned, {1, 1, 1, 3}), "train.batch 16 is no multiple of micro_batch x data ranks = 1 x 3 = 3");
  EXPECT_EQ(refusal(planned, {1, 3, 1, 1}), "4 layers / 3 is not whole");
  planned.experiment.parallel.virtual_stages = 2;
  planned.experiment.train.batch = 5;
  EXPECT_EQ(refusal(planned, {1, 2, 1, 1}),
            "an interleaved pipeline takes micro-batches in packs of its 2 ranks: 5 / 2 is not whole");
  planned.experiment.train.batch = 1001; // too many to play all: the same refusal
  EXPECT_EQ(refusal(planned, {1, 2, 1, 1}).substr(0, 27), "an interleaved pipeline tak");
}

TEST(PlanMemory, TextsSayPartsAndSum) {
  Memory memory;
  memory.weights = 3'210'000'000;
  memory.gradients = 6'420'000'000;
  memory.optimizer = 15'000'000'000;
  memory.activations = 999'600'000;
  memory.buffers = 64'000'000;
  EXPECT_EQ(arithmetic(memory),
            "weights 3.21 GB + gradients 6.42 GB + optimizer 15 GB + activations 1 GB + buffers 64 MB + CUDA 700 MB = "
            "26.4 GB");
  EXPECT_EQ(size_text(0), "0 kB");
  EXPECT_EQ(size_text(13'400'000'000'000), "13.4 TB");
}

} // namespace
} // namespace conclave::plan
