// Tests of @ID@.

#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>

#include <limits>

#include "conclave/optimizer.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_tensor.hpp"

namespace testkit = conclave::testkit;

namespace {

std::shared_ptr<conclave::Optimizer> make(testkit::FakeHost& host) {
  auto made = testkit::make<conclave::Optimizer>(testkit::this_library("@ID@"), host, testkit::map({{"weight_decay", 0.5}}));
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::move(made).value();
}

} // namespace

TEST(@CLASS@, StepsAgainstTheGradient) {
  testkit::FakeHost host;
  const auto optimizer = make(host);
  auto segments = testkit::random_segments(optimizer->traits(), {{5}, {7}}, 1, at::kDouble);
  std::vector<at::Tensor> expected;
  for (const auto& s : segments) {
    const double decay = s.decay == conclave::DecayClass::decay ? 0.5 : 0.0;
    expected.push_back(s.master.sub(s.gradient.mul(0.25).add(s.master, decay).mul(0.1)));
  }
  const auto gate = testkit::make_gate(true, 0.25, at::kDouble);
  optimizer->step(segments, {at::scalar_tensor(0.1, at::kDouble), at::scalar_tensor(1.0), &gate});
  for (std::size_t i = 0; i < segments.size(); ++i) EXPECT_TRUE(segments[i].master.allclose(expected[i], 1e-12, 1e-12));
}

TEST(@CLASS@, ChangesNothingWhenTheGateIsShut) {
  testkit::FakeHost host;
  const auto optimizer = make(host);
  auto segments = testkit::random_segments(optimizer->traits(), {{5}}, 1);
  const at::Tensor before = segments[0].master.clone();
  segments[0].gradient.fill_(std::numeric_limits<double>::infinity());
  const auto gate = testkit::make_gate(false);
  optimizer->step(segments, {at::scalar_tensor(0.1), at::scalar_tensor(1.0), &gate});
  EXPECT_TRUE(segments[0].master.equal(before));
}
