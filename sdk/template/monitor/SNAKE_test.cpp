// Tests of @ID@.

#include <gtest/gtest.h>

#include <cmath>

#include "conclave/monitor.hpp"
#include "conclave/testkit.hpp"

namespace testkit = conclave::testkit;

namespace {

conclave::StepReport report(std::int64_t step, double loss) {
  conclave::StepReport r;
  r.step = step;
  r.metrics = {{"loss", "nats", loss, conclave::Reduction::mean, {}}};
  return r;
}

} // namespace

TEST(@CLASS@, LogsTheLowestLossAndTakesNanInItsStride) {
  testkit::FakeHost host;
  const auto made = testkit::make<conclave::Monitor>(testkit::this_library("@ID@"), host, testkit::map({{"every", 2}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  ASSERT_TRUE((*made)->start({}).ok());
  ASSERT_TRUE((*made)->step(report(1, 3.0)).ok());
  ASSERT_TRUE((*made)->step(report(2, std::nan(""))).ok());
  ASSERT_TRUE((*made)->step(report(3, 2.0)).ok());
  ASSERT_TRUE((*made)->finish(0).ok());
  const auto logs = host.logs();
  ASSERT_EQ(logs.size(), 3u);
  EXPECT_NE(logs[1].text.find("step 2: lowest loss 3.0"), std::string::npos);
  EXPECT_NE(logs[2].text.find("lowest loss 2.0"), std::string::npos);
}
