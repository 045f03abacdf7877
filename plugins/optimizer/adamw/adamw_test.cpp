// AdamW against torch.optim.AdamW, its two forms against each other, and the gate.

#include "adamw.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "conclave/testkit.hpp"
#include "update.hpp"

namespace conclave {
namespace {

using adamw::Coefficients;
constexpr std::int64_t size = 37;

// The formula of make_reference.py.
at::Tensor gradient(std::int64_t offset, std::int64_t step, at::ScalarType type) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < size; ++i)
    values.push_back(static_cast<double>(((i + offset) * 7919 + step * 104729) % 2003 - 1001) / 1001.0);
  return at::tensor(values, at::kDouble).to(type);
}

class Case {
 public:
  explicit Case(at::ScalarType type) : type_(type) {
    for (const std::int64_t offset : {0, 1000}) {
      Segment segment;
      segment.decay = offset == 0 ? DecayClass::decay : DecayClass::no_decay;
      segment.master = gradient(offset, 0, type);
      segment.states = {at::zeros_like(segment.master), at::zeros_like(segment.master)};
      segments.push_back(segment);
    }
    scalars.learning_rate = scalar(1e-3);
    scalars.step = at::full({}, 0, at::kFloat);
    scalars.gate = &gate;
    gate = {scalar(0), scalar(1), scalar(1), scalar(1), scalar(1)};
  }

  void step(Optimizer& optimizer, double scale = 1) {
    scalars.step.add_(gate.apply);
    gate.gradient_scale.fill_(1 / scale);
    for (std::size_t i = 0; i < segments.size(); ++i)
      segments[i].gradient = gradient(i == 0 ? 0 : 1000, ++steps_[i], type_) * scale;
    optimizer.step(segments, scalars);
  }
  at::Tensor scalar(double value) const { return at::full({}, value, type_); }

  std::vector<Segment> segments;
  StepGate gate;
  UpdateScalars scalars;

 private:
  at::ScalarType type_;
  std::int64_t steps_[2] = {0, 0};
};

std::shared_ptr<Optimizer> make_adamw() {
  testkit::FakeHost host;
  auto made = testkit::make<Optimizer>(testkit::this_library("optimizer/adamw"), host, testkit::map({{"lr", 1e-3}}));
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return *made;
}

void expect_golden(at::ScalarType type, const char* name, double tolerance, double scale) {
  const auto golden = nlohmann::json::parse(std::ifstream(GOLDEN_FILE));
  const auto optimizer = make_adamw();
  Case run(type);
  for (int step = 1; step <= 100; ++step) {
    run.step(*optimizer, scale);
    const auto kept = golden["parameters"][name].find(std::to_string(step));
    if (kept == golden["parameters"][name].end()) continue;
    for (std::size_t group = 0; group < 2; ++group) {
      const at::Tensor ours = run.segments[group].master.to(at::kDouble);
      for (std::int64_t i = 0; i < size; ++i) {
        const double expected =
            std::strtod((*kept)[group][static_cast<std::size_t>(i)].get<std::string>().c_str(), nullptr);
        EXPECT_NEAR(ours.data_ptr<double>()[i], expected, tolerance)
            << "step " << step << " group " << group << " element " << i;
      }
    }
  }
}

TEST(AdamW, EqualsTorchFor100StepsInFp64) { expect_golden(at::kDouble, "float64", 1e-14, 1); }
TEST(AdamW, EqualsTorchFor100StepsInFp32) { expect_golden(at::kFloat, "float32", 5e-7, 1); }
TEST(AdamW, UsesTheGatesGradientScale) { expect_golden(at::kDouble, "float64", 1e-13, 65536); }

TEST(AdamW, TouchesNothingWhereTheGateIsClosed) {
  const auto optimizer = make_adamw();
  Case run(at::kFloat);
  run.step(*optimizer);
  run.step(*optimizer);
  const at::Tensor master = run.segments[0].master.clone(), average = run.segments[0].states[0].clone();
  run.gate.apply.fill_(0);
  run.gate.gradient_scale.fill_(std::numeric_limits<float>::quiet_NaN());
  for (Segment& segment : run.segments) segment.gradient = at::full({size}, std::numeric_limits<float>::infinity());
  optimizer->step(run.segments, run.scalars);
  EXPECT_TRUE(at::equal(master, run.segments[0].master));
  EXPECT_TRUE(at::equal(average, run.segments[0].states[0]));
  EXPECT_EQ(run.scalars.step.item<float>(), 2);
}

// The composed form serves fp64 on a GPU; its operators are the same on the CPU.
TEST(AdamW, ComposedFormEqualsFusedForm) {
  const Coefficients coefficients{0.9, 0.98, 1e-6, 0.1};
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    Case fused(type), composed(type);
    for (int step = 1; step <= 20; ++step) {
      for (Case* run : {&fused, &composed}) {
        run->gate.apply.fill_(step == 7 ? 0 : 1); // one skipped step
        run->gate.gradient_scale.fill_(0.25);
        run->scalars.step.add_(run->gate.apply);
        run->segments[0].gradient = gradient(0, step, type);
        if (step == 7) run->segments[0].gradient.fill_(std::numeric_limits<float>::quiet_NaN());
      }
      adamw::update_fused(fused.segments[0], fused.scalars, coefficients);
      adamw::update_composed(composed.segments[0], composed.scalars, coefficients);
      const double difference = (fused.segments[0].master - composed.segments[0].master).abs().max().item<double>();
      EXPECT_LT(difference, type == at::kFloat ? 3e-7 : 1e-15) << "step " << step;
    }
  }
}

TEST(AdamW, RefusesBadOptions) {
  const OptionTable table = adamw::option_table();
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"betas", testkit::list({0.9, 1.0})}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"lr", -1.0}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"eps", 0.0}})).ok());
  EXPECT_TRUE(testkit::bind_options(table).ok());
}

} // namespace
} // namespace conclave
