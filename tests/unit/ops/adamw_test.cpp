// The AdamW kernel against its formula in fp64.

#include "conclave/ops/adamw.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "check_operator.hpp"

namespace conclave::testing {
namespace {

class AdamWKernel : public ::testing::Test {
 protected:
  static at::Tensor scalar(double value) {
    return at::full({}, value, at::TensorOptions().dtype(at::kFloat).device(test_device()));
  }
  AdamWKernel() {
    gate = {scalar(0), scalar(1), scalar(1), scalar(0.25), scalar(1)};
    scalars.learning_rate = scalar(1e-2);
    scalars.step = scalar(0);
    scalars.gate = &gate;
  }
  /// A segment of n elements that starts `first` elements into its memory.
  static Segment segment(std::int64_t n, std::int64_t first, at::ScalarType value) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, first, n); };
    const at::Tensor master = random_tensor({n + first}, "master", at::kFloat);
    Segment made;
    made.master = part(master);
    made.gradient = part(random_tensor({n + first}, "gradient", at::kFloat));
    made.states = {part(at::zeros_like(master)), part(at::zeros_like(master))};
    if (value != at::kFloat) made.value = part(at::zeros_like(master).to(value));
    return made;
  }
  StepGate gate;
  UpdateScalars scalars;
  const ops::AdamWCoefficients coefficients{0.9, 0.98, 1e-6, 0.1};
};

TEST_F(AdamWKernel, EqualsTheFormulaOver20Steps) {
  for (const auto& [n, first, type] : std::vector<std::tuple<std::int64_t, std::int64_t, at::ScalarType>>{
           {1, 0, at::kFloat}, {4096 * 3 + 3, 0, at::kBFloat16}, {1000003, 0, at::kHalf}, {1001, 3, at::kBFloat16}}) {
    Segment s = segment(n, first, type);
    at::Tensor p = s.master.to(at::kDouble), m = at::zeros_like(p), v = at::zeros_like(p);
    for (int t = 1; t <= 20; ++t) {
      scalars.step.fill_(t);
      s.gradient.copy_(random_tensor({n}, "gradient" + std::to_string(t), at::kFloat));
      if (!ops::adamw(s, scalars, coefficients))
        GTEST_SKIP() << "SKIPPED: there is no such kernel here; its optimizer composes it";
      const at::Tensor g = s.gradient.to(at::kDouble) * 0.25;
      p *= 1 - 1e-2 * 0.1;
      m.lerp_(g, 1 - 0.9);
      v = v * 0.98 + g * g * (1 - 0.98);
      p -= 1e-2 / (1 - std::pow(0.9, t)) * m / (v.sqrt() / std::sqrt(1 - std::pow(0.98, t)) + 1e-6);
    }
    EXPECT_LE(distance(s.master, p), 20 * 0x1p-24) << n; // each step rounds once
    EXPECT_LE(distance(s.states[0], m), 5e-7) << n;
    EXPECT_LE(distance(s.states[1], v), 5e-7) << n;
    if (s.value.defined()) {
      EXPECT_TRUE(at::equal(s.value, s.master.to(type))) << n;
    }
  }
}

TEST_F(AdamWKernel, TouchesNothingWhereTheGateIsClosed) {
  Segment s = segment(1000, 0, at::kBFloat16);
  const at::Tensor before = s.master.clone();
  s.gradient.fill_(std::nan(""));
  gate.apply.fill_(0);
  if (!ops::adamw(s, scalars, coefficients)) GTEST_SKIP() << "SKIPPED: there is no such kernel here";
  EXPECT_TRUE(at::equal(s.master, before));
  for (const at::Tensor& state : s.states) EXPECT_EQ(state.abs().max().item<float>(), 0);
  EXPECT_EQ(s.value.abs().max().item<float>(), 0);
}

} // namespace
} // namespace conclave::testing
