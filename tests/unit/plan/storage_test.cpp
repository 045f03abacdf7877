// plan_storage(): bytes of a checkpoint, what policies keep, prepared tokens.

#include "plan/storage.hpp"

#include <gtest/gtest.h>

#include "unit/plan/block_model.hpp"

namespace conclave::plan {
namespace {

using testing::Planned;

/// Saves every tenth step, keeps the newest two and every fortieth.
class Policy final : public CheckpointPolicy {
 public:
  [[nodiscard]] bool due(std::int64_t step, std::int64_t) const override { return step % 10 == 0; }
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
    std::vector<std::int64_t> leaving;
    for (std::size_t i = 0; i + 2 < committed.size(); ++i)
      if (committed[i].step % 40 != 0) leaving.push_back(committed[i].step);
    return leaving;
  }
};

TEST(PlanStorage, ByHand) {
  const Planned planned;
  const auto storage = plan_storage(planned.subject(), nullptr);
  ASSERT_TRUE(storage.ok());
  constexpr std::int64_t elements = 1024 + 4 * (64 + 4096 + 32768);
  EXPECT_EQ(storage->checkpoint, elements * 12 + 8 * 4); // masters and two states, and the bias
  EXPECT_EQ(storage->kept, 0);
  EXPECT_EQ(storage->tokens, 100 * 16 * 10 * 2);
  EXPECT_EQ(storage->sum(), storage->checkpoint + storage->tokens);
}

TEST(PlanStorage, CountsWhatThePolicyKeeps) {
  const Planned planned;
  const Policy policy;
  const auto storage = plan_storage(planned.subject(), &policy);
  ASSERT_TRUE(storage.ok());
  EXPECT_EQ(storage->kept, 4); // 40 and 80; 90 and 100
  EXPECT_EQ(storage->sum(), storage->checkpoint * 5 + storage->tokens);
}

TEST(PlanStorage, LargeVocabulariesAndRunsFit) {
  Planned planned;
  planned.experiment.train.steps = 1'000'000'000;
  planned.experiment.train.batch = 1'000'000'000;
  Subject subject = planned.subject();
  EXPECT_EQ(plan_storage(subject, nullptr)->tokens, 1'000'000'000'000'000'000);
  planned.experiment.train.batch = 16;
  subject.shape.vocabulary = 65'537;
  EXPECT_EQ(plan_storage(subject, nullptr)->tokens, 1'000'000'000LL * 16 * 10 * 4);
}

} // namespace
} // namespace conclave::plan
