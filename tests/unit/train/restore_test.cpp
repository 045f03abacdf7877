// Snapshot and restore: N steps straight are k + resume + (N - k), bit for bit, and what does not fit is named.

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::Harness, testing::make_step, testing::MemoryCheckpoint, testing::settings_for;

void expect_resume_is_bitwise(at::ScalarType compute) {
  auto settings = settings_for(compute);
  settings.loss_scale.interval = 3;
  settings.loss_scale.initial = 1024;
  Harness straight(settings), first(settings);
  auto run = [](Harness& harness, std::int64_t begin, std::int64_t end) {
    std::vector<StepResult> results;
    for (std::int64_t i = begin; i < end; ++i) {
      harness.stage->loss_factor = i == 2 && harness.stage->compute == at::kHalf ? 1e8 : 1; // one skipped step
      results.push_back(harness.step(make_step(i, 6, 2)));
    }
    return results;
  };
  const auto expected = run(straight, 0, 9);
  run(first, 0, 5);
  settings.seed = 99; // other initial weights: all of them must come from the checkpoint
  Harness second(settings);
  ASSERT_TRUE(second.engine->restore(MemoryCheckpoint(*first.engine)).ok());
  EXPECT_EQ(second.engine->optimizer_steps(), first.engine->optimizer_steps());
  const auto resumed = run(second, 5, 9);
  for (std::size_t i = 0; i < resumed.size(); ++i) {
    EXPECT_EQ(resumed[i].loss, expected[5 + i].loss);
    EXPECT_EQ(resumed[i].grad_norm, expected[5 + i].grad_norm);
    EXPECT_EQ(resumed[i].loss_scale, expected[5 + i].loss_scale);
  }
  const MemoryCheckpoint a(*straight.engine), b(*second.engine);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) EXPECT_TRUE(tensor.equal(b.tensors.at(name))) << name;
  const StateMap &host_a = a.states().at("host"), &host_b = b.states().at("host");
  ASSERT_EQ(host_a.size(), host_b.size());
  for (const auto& [name, value] : host_a) {
    ASSERT_TRUE(host_b.contains(name)) << name;
    ASSERT_EQ(value.index(), host_b.at(name).index()) << name;
    if (const auto* count = std::get_if<std::int64_t>(&value)) {
      EXPECT_EQ(*count, std::get<std::int64_t>(host_b.at(name))) << name;
    } else {
      EXPECT_EQ(std::get<double>(value), std::get<double>(host_b.at(name))) << name;
    }
  }
  for (const char* name : {"optimizer_step", "skipped"}) EXPECT_TRUE(host_a.contains(name)) << name;
  for (const char* name : {"loss_scale", "growth_tracker"})
    EXPECT_EQ(host_a.contains(name), compute == at::kHalf) << name;
}

TEST(Restore, IsBitwiseInFp32) { expect_resume_is_bitwise(at::kFloat); }
TEST(Restore, IsBitwiseInFp64) { expect_resume_is_bitwise(at::kDouble); }
TEST(Restore, IsBitwiseInBf16) { expect_resume_is_bitwise(at::kBFloat16); }
TEST(Restore, IsBitwiseInFp16WithASkippedStep) { expect_resume_is_bitwise(at::kHalf); }

TEST(Restore, AScaleComesFromTheSettingsWhenTheCheckpointHasNone) {
  auto half = settings_for(at::kHalf);
  half.loss_scale.initial = 1024;
  for (const at::ScalarType before : {at::kFloat, at::kBFloat16}) {
    Harness first(settings_for(before)), second(half);
    first.step(make_step(0, 6, 2));
    ASSERT_TRUE(second.engine->restore(MemoryCheckpoint(*first.engine)).ok());
    EXPECT_EQ(second.step(make_step(1, 6, 2)).loss_scale, 1024);
    EXPECT_EQ(second.engine->optimizer_steps(), 2);
  }
  Harness scaled(half), plain(settings_for(at::kFloat));
  ASSERT_TRUE(plain.engine->restore(MemoryCheckpoint(*scaled.engine)).ok());
  EXPECT_EQ(plain.step(make_step(0, 6, 2)).loss_scale, 1);
}

TEST(Restore, NamesTensorsByPieceAndLeavesPaddingOut) {
  Harness harness(settings_for(at::kFloat));
  const MemoryCheckpoint checkpoint(*harness.engine);
  for (const char* name : {"embed", "w1.0", "w1.1", "optimizer/momentum/w1.1", "bias"})
    EXPECT_EQ(checkpoint.tensors.count(name), 1U) << name;
  EXPECT_EQ(checkpoint.tensors.count("w1.fused"), 0U);
  EXPECT_EQ(checkpoint.tensors.count("load"), 0U) << "counters are not kept";
  EXPECT_EQ(checkpoint.tensors.at("w1.1").sizes().vec(),
            (std::vector<std::int64_t>{testing::hidden / 2, testing::width}));
}

TEST(Restore, NamesWhatDoesNotFit) {
  Harness harness(settings_for(at::kFloat));
  auto error = [&](auto&& spoil) {
    MemoryCheckpoint checkpoint(*harness.engine);
    spoil(checkpoint.tensors);
    Harness fresh(settings_for(at::kFloat));
    const Status status = fresh.engine->restore(checkpoint);
    return status.ok() ? std::string() : status.error().render();
  };
  EXPECT_EQ(error([](auto&) {}), "");
  EXPECT_NE(error([](auto& t) { t.erase("w1.1"); }).find("no tensor `w1.1`"), std::string::npos);
  EXPECT_NE(error([](auto& t) {
              t["embed"] = at::zeros({13, 4});
            }).find("[13, 4] in the checkpoint and [11, 4]"),
            std::string::npos);
  // Without optimizer states a deeper model's checkpoint differs by its own tensors alone.
  EXPECT_NE(error([](auto& t) { t["w9"] = at::zeros({2}); }).find("tensor `w9` has no place"), std::string::npos);
  EXPECT_NE(error([](auto& t) { t["optimizer/momentum/w9"] = at::zeros({2}); }).find("w9"), std::string::npos);
}

} // namespace
} // namespace conclave
