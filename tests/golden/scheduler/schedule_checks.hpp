// What every scheduler plugin is held to: PyTorch's rates in schedules.json, and finite rates everywhere.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "conclave/scheduler.hpp"
#include "conclave/testkit.hpp"
#include "support/plugins_from_json.hpp"

namespace conclave::testing {

/// An instance of the plugin that this test is linked with. Throws std::runtime_error.
inline std::shared_ptr<Scheduler> make_scheduler(const char* id, const Value& with = {},
                                                 const testkit::Children& children = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Scheduler>(testkit::this_library(id), host, with, children);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return *made;
}

/// The cases of this id in schedules.json, at least one.
inline void expect_pytorchs_rates(const char* id) {
  const auto golden = nlohmann::json::parse(std::ifstream(GOLDEN_FILE));
  const ScheduleExtent extent{golden["steps"].get<std::int64_t>(), golden["peak"].get<double>()};
  int cases = 0;
  for (const auto& item : golden["cases"]) {
    if (item["id"] != id) continue;
    ++cases;
    const auto scheduler = make_scheduler(id, to_value(item["with"]));
    for (std::int64_t step = 0; step < extent.total_steps; ++step)
      EXPECT_NEAR(scheduler->learning_rate(step, extent), item["rates"][static_cast<std::size_t>(step)].get<double>(),
                  1e-13 * extent.peak)
          << item["with"] << " step " << step;
  }
  EXPECT_GT(cases, 0);
}

/// With default options, in runs of a few lengths, past their ends too.
inline void expect_finite_rates(const char* id) {
  const auto scheduler = make_scheduler(id);
  for (const std::int64_t total : {1, 2, 3, 100})
    for (const std::int64_t step : {0, 1, 2, 3, 99, 100, 101, 100000}) {
      const double rate = scheduler->learning_rate(step, {total, 1e-3});
      EXPECT_TRUE(std::isfinite(rate) && rate >= 0 && rate <= 1e-3) << total << " " << step << " " << rate;
    }
}

} // namespace conclave::testing
