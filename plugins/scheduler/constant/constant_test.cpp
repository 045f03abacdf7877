// constant against the same schedule composed from PyTorch's schedulers, and its edges.

#include "constant.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "conclave/testkit.hpp"

namespace conclave {
namespace {

constexpr const char* id = "scheduler/constant";

Value options_of(const nlohmann::json& with) {
  std::vector<Value::Member> members;
  for (const auto& [key, value] : with.items())
    members.push_back({key, {}, Value::scalar(value.is_string() ? value.get<std::string>() : value.dump())});
  return Value::map(std::move(members));
}

std::shared_ptr<Scheduler> make_scheduler(const Value& with, const testkit::Children& children = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Scheduler>(testkit::this_library(id), host, with, children);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return *made;
}

TEST(Schedule, EqualsPyTorchFor100Steps) {
  const auto golden = nlohmann::json::parse(std::ifstream(GOLDEN_FILE));
  const ScheduleExtent extent{golden["steps"].get<std::int64_t>(), golden["peak"].get<double>()};
  int cases = 0;
  for (const auto& item : golden["cases"]) {
    if (item["id"] != id) continue;
    ++cases;
    const auto scheduler = make_scheduler(options_of(item["with"]));
    for (std::int64_t step = 0; step < extent.total_steps; ++step)
      EXPECT_NEAR(scheduler->learning_rate(step, extent), item["rates"][static_cast<std::size_t>(step)].get<double>(),
                  1e-13 * extent.peak)
          << item["with"] << " step " << step;
  }
  EXPECT_GT(cases, 0);
}

TEST(Schedule, IsFiniteEverywhereEvenPastTheEnd) {
  const auto scheduler = make_scheduler(Value{});
  for (const std::int64_t total : {1, 2, 3, 100})
    for (const std::int64_t step : {0, 1, 2, 3, 99, 100, 101, 100000}) {
      const double rate = scheduler->learning_rate(step, {total, 1e-3});
      EXPECT_TRUE(std::isfinite(rate) && rate >= 0 && rate <= 1e-3) << total << " " << step << " " << rate;
    }
}

TEST(Schedule, HandsOverToTheNext) {
  const auto second =
      make_scheduler(testkit::map({{"ratio", 0.5}, {"warmup", "10%"}})); // of the 60 steps that are left
  const auto chain = make_scheduler(testkit::map({{"steps", 40}}), {{"next", second}});
  EXPECT_DOUBLE_EQ(chain->learning_rate(39, {100, 1.0}), 1.0);
  EXPECT_DOUBLE_EQ(chain->learning_rate(40, {100, 1.0}), 0.5 / 6);
  EXPECT_DOUBLE_EQ(chain->learning_rate(99, {100, 1.0}), 0.5);
}

} // namespace
} // namespace conclave
