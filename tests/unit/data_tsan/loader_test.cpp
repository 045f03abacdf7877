// The loader's threads: order, bound, errors, and leaving early.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "data/loader.hpp"

namespace conclave::data {
namespace {

/// Steps that only know their index; counts how far ahead builds run.
class CountingPlan final : public BatchPlan {
 public:
  explicit CountingPlan(std::int64_t bad = -1) : bad_(bad) {}
  [[nodiscard]] HostStep build(std::int64_t index) const override {
    if (index == bad_) throw std::runtime_error("bad batch");
    std::int64_t highest = highest_built.load();
    while (highest < index && !highest_built.compare_exchange_weak(highest, index)) {
    }
    if (index % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200)); // later ones overtake
    HostStep step;
    step.batch_index = index;
    step.domain_tokens.assign(100, index);
    return step;
  }
  [[nodiscard]] StepPlan plan(std::int64_t) const override { return {}; }
  [[nodiscard]] std::vector<std::int64_t> documents(std::int64_t, const SampleId&) const override { return {}; }
  [[nodiscard]] std::int64_t batches() const override { return 1000; }
  [[nodiscard]] const std::string& digest() const override { return digest_; }
  [[nodiscard]] std::vector<PlanStage> stages() const override { return {}; }
  [[nodiscard]] std::vector<double> passes(std::int64_t) const override { return {}; }
  mutable std::atomic<std::int64_t> highest_built = -1;

 private:
  std::int64_t bad_;
  std::string digest_ = "counting";
};

TEST(Loader, GivesStepsInOrderFromTheFirst) {
  for (const int workers : {0, 1, 2, 4}) {
    const auto loader = make_loader(std::make_shared<CountingPlan>(), 17, workers, 3);
    for (std::int64_t index = 17; index < 217; ++index) {
      const auto step = loader->next();
      ASSERT_TRUE(step.ok());
      ASSERT_EQ(step->batch_index, index);
      ASSERT_EQ(step->domain_tokens[99], index);
    }
  }
}

TEST(Loader, RunsAheadNoFurtherThanAsked) {
  const auto plan = std::make_shared<CountingPlan>();
  const auto loader = make_loader(plan, 0, 2, 5);
  for (std::int64_t index = 0; index < 50; ++index) {
    ASSERT_TRUE(loader->next().ok());
    EXPECT_LE(plan->highest_built, index + 5);
  }
}

TEST(Loader, AFailedBatchIsAnErrorInItsPlace) {
  for (const int workers : {0, 2}) {
    const auto loader = make_loader(std::make_shared<CountingPlan>(2), 0, workers, 4);
    EXPECT_TRUE(loader->next().ok());
    EXPECT_TRUE(loader->next().ok());
    const auto third = loader->next();
    ASSERT_FALSE(third.ok());
    EXPECT_NE(third.error().what.find("bad batch"), std::string::npos);
    EXPECT_TRUE(loader->next().ok());
  }
}

TEST(Loader, MayGoAtAnyMoment) {
  for (int i = 0; i < 50; ++i) {
    const auto loader = make_loader(std::make_shared<CountingPlan>(), 0, 3, 8);
    for (int n = 0; n < i % 5; ++n) EXPECT_TRUE(loader->next().ok());
  }
}

} // namespace
} // namespace conclave::data
