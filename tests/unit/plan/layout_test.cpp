// choose_layout(): always valid, and in the order of preference.

#include "plan/layout.hpp"

#include <gtest/gtest.h>

#include "unit/plan/block_model.hpp"

namespace conclave::plan {
namespace {

using testing::Planned;

/// Whether any layout of that many ranks is right, by trying all.
bool any_layout(const Planned& planned, std::int64_t ranks) {
  for (std::int64_t pipeline = 1; pipeline <= ranks; ++pipeline)
    for (std::int64_t tensor = 1; tensor <= 8; ++tensor)
      for (std::int64_t expert = 1; expert <= ranks; ++expert) {
        const auto mesh = resolve_mesh({tensor, pipeline, expert, 0}, ranks, 0);
        if (mesh.ok() && plan_memory(planned.subject(), *mesh).ok()) return true;
      }
  return false;
}

TEST(ChooseLayout, IsValidForEveryNumberOfRanksThatHasAValidOne) {
  Planned planned;
  int valid = 0;
  for (std::int64_t ranks = 1; ranks <= 64; ++ranks) {
    const auto sizes = choose_layout(planned.subject(), ranks);
    EXPECT_EQ(sizes.ok(), any_layout(planned, ranks)) << ranks;
    if (!sizes.ok()) {
      EXPECT_EQ(sizes.error().code, Code::unsupported);
      continue;
    }
    ++valid;
    const auto mesh = resolve_mesh(*sizes, ranks, 0);
    ASSERT_TRUE(mesh.ok()) << ranks;
    EXPECT_EQ(mesh->world_size(), ranks);
    EXPECT_TRUE(plan_memory(planned.subject(), *mesh).ok()) << ranks;
  }
  EXPECT_EQ(valid, 7); // the powers of two: the batch, the layers, the rows and the experts are
}

TEST(ChooseLayout, SplitsNothingWhenMemoryIsNotSaid) {
  const auto sizes = choose_layout(Planned{}.subject(), 8);
  ASSERT_TRUE(sizes.ok());
  EXPECT_EQ(sizes->data, 8);
  EXPECT_EQ(sizes->expert, 1);
  EXPECT_EQ(sizes->tensor, 1);
  EXPECT_EQ(sizes->pipeline, 1);
}

TEST(ChooseLayout, SplitsExpertsThenLayersThenTheDepth) {
  Planned planned;
  const auto needs = [&](const ParallelSizes& sizes) {
    return fullest(*plan_memory(planned.subject(), *resolve_mesh(sizes, 8, 0))).sum() + outside_allocator;
  };
  const auto chosen = [&](std::int64_t memory) {
    planned.experiment.hardware.gpu_memory = memory;
    const auto sizes = choose_layout(planned.subject(), 8);
    EXPECT_TRUE(sizes.ok());
    return sizes.ok() ? std::vector<std::int64_t>{sizes->expert, sizes->tensor, sizes->pipeline, sizes->data}
                      : std::vector<std::int64_t>{};
  };
  using Degrees = std::vector<std::int64_t>; // expert, tensor, pipeline, data
  EXPECT_EQ(chosen(needs({1, 1, 1, 8})), (Degrees{1, 1, 1, 8}));
  EXPECT_EQ(chosen(needs({1, 1, 1, 8}) - 1), (Degrees{2, 1, 1, 8}));
  EXPECT_EQ(chosen(needs({1, 1, 8, 8})), (Degrees{8, 1, 1, 8}));
  EXPECT_EQ(chosen(needs({1, 1, 8, 8}) - 1)[1], 2);
  // Too little for any: what needs the least, so that the refusal shows the best that can be had.
  const Degrees least = chosen(1);
  for (const ParallelSizes& other : {ParallelSizes{1, 1, 8, 8}, ParallelSizes{8, 1, 8, 1}, ParallelSizes{2, 2, 4, 2}})
    EXPECT_LE(needs({least[1], least[2], least[0], least[3]}), needs(other));
}

TEST(ChooseLayout, SaysWhyThereIsNone) {
  const auto sizes = choose_layout(Planned{}.subject(), 3);
  ASSERT_FALSE(sizes.ok());
  EXPECT_EQ(
      sizes.error().what,
      "no layout of 3 ranks suits the experiment (pipeline 1 x data 3 x tensor 1, experts over 1: train.batch 16 is "
      "no multiple of micro_batch x data ranks = 1 x 3 = 3)");
}

} // namespace
} // namespace conclave::plan
