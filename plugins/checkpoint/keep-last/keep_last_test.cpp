// keep-last: when it saves, what it lets go, and what it says about its options.

#include "keep_last.hpp"

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"

namespace conclave {
namespace {

using Steps = std::vector<std::int64_t>;

constexpr const char* id = "checkpoint/keep-last";

std::shared_ptr<CheckpointPolicy> make_policy(const Value& with) {
  testkit::FakeHost host;
  auto made = testkit::make<CheckpointPolicy>(testkit::this_library(id), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return *made;
}

std::vector<CheckpointInfo> saved(std::initializer_list<std::int64_t> steps) {
  std::vector<CheckpointInfo> infos;
  for (const std::int64_t step : steps) infos.push_back({step, 1});
  return infos;
}

TEST(KeepLast, SavesAtMultiples) {
  const auto policy = make_policy(testkit::map({{"every", "1k"}}));
  EXPECT_TRUE(policy->due(1000, 10'000));
  EXPECT_TRUE(policy->due(5000, 10'000));
  EXPECT_FALSE(policy->due(999, 10'000));
  EXPECT_FALSE(policy->due(1001, 10'000));
}

TEST(KeepLast, LetsTheOldestGo) {
  const auto policy = make_policy(testkit::map({{"every", 10}, {"keep", 2}}));
  EXPECT_EQ(policy->retire(saved({})), Steps{});
  EXPECT_EQ(policy->retire(saved({10, 20})), Steps{});
  EXPECT_EQ(policy->retire(saved({10, 20, 30, 40})), (Steps{20, 10}));
}

TEST(KeepLast, KeepsSomeForGoodBesideTheNewest) {
  const auto policy = make_policy(testkit::map({{"every", 10}, {"keep", 1}, {"keep_every", 20}}));
  EXPECT_EQ(policy->retire(saved({10, 20, 30, 40, 50})), (Steps{30, 10}));
}

TEST(KeepLast, DefaultsAreThoseOfTheArticle) {
  const auto policy = make_policy({});
  EXPECT_TRUE(policy->due(1000, 1));
  EXPECT_EQ(policy->retire(saved({1000, 2000, 3000, 4000, 5000, 6000})), Steps{1000});
}

TEST(KeepLast, RefusesToKeepNothing) {
  const auto& table = testkit::this_library(id).options;
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"keep", 0}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"every", 0}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"kep", 3}})).ok());
  const auto bound = testkit::bind_options(table, testkit::map({{"every", 10}, {"keep_every", 15}}));
  EXPECT_TRUE(bound.ok());
  EXPECT_FALSE(bound.diagnostics.all().empty());
}

} // namespace
} // namespace conclave
