// check_operator: runs a fused operator and a reference written with ATen's differentiable operators on the same inputs, and
// compares values, gradients through autograd, and gradients through sinks.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "conclave/param.hpp"
#include "conclave/random.hpp"

namespace conclave::testing {

/// The same tests run on the CPU and, with CONCLAVE_TEST_DEVICE=cuda, on a GPU, which test_main.cpp has opened.
inline at::Device test_device() {
  static const char* const wanted = std::getenv("CONCLAVE_TEST_DEVICE");
  return wanted != nullptr ? at::Device(wanted) : at::Device(at::kCPU);
}

/// Standard normal values that depend on the name alone, on the test's device.
inline at::Tensor random_tensor(at::IntArrayRef shape, const std::string& name, at::ScalarType type = at::kDouble) {
  const at::Tensor values = at::empty(shape, at::kDouble);
  const RandomStream stream(1234, name);
  double* out = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) out[i] = stream.normal(static_cast<std::uint64_t>(i));
  return values.to(test_device(), type);
}

/// Every input comes as a BoundParam; plain inputs never have a sink.
using Bound = std::vector<BoundParam>;
using Operator = std::function<std::vector<at::Tensor>(const Bound& inputs)>;

struct Input {
  std::string name;
  at::Tensor value;
  bool is_weight = false;
  bool stays_wide = false; ///< in fp32 where the others are bf16 or fp16, as norms' weights are
};

struct Outcome {
  std::vector<at::Tensor> outputs, gradients; ///< gradients in the order of the inputs
};

/// Runs forward and backward from fixed random seeds, `rounds` times; with sinks, weights' gradients are the sinks'.
inline Outcome run_operator(const Operator& op, const std::vector<Input>& inputs, at::ScalarType type, bool sinks,
                            int rounds = 1) {
  std::vector<std::unique_ptr<GradSink>> owned;
  std::vector<BoundParam> bound;
  for (const Input& input : inputs) {
    BoundParam param;
    const bool widened = input.stays_wide && type != at::kDouble;
    param.value = input.value.to(widened ? at::kFloat : type).detach().clone().requires_grad_();
    if (sinks && input.is_weight) {
      owned.push_back(std::make_unique<GradSink>());
      param.sink = owned.back().get();
      const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
      // Stale content must be written over, even when it is not a number.
      param.sink->gradient = at::full_like(param.value.detach(), std::nan(""), at::TensorOptions().dtype(wide));
      param.sink->begin_step();
    }
    bound.push_back(param);
  }
  Outcome outcome;
  for (int round = 0; round < rounds; ++round) {
    outcome.outputs = op(bound);
    std::vector<at::Tensor> roots, seeds;
    for (std::size_t i = 0; i < outcome.outputs.size(); ++i) {
      if (!outcome.outputs[i].requires_grad()) continue;
      roots.push_back(outcome.outputs[i]);
      seeds.push_back(
          random_tensor(outcome.outputs[i].sizes(), "seed" + std::to_string(i), outcome.outputs[i].scalar_type()));
    }
    torch::autograd::backward(roots, seeds);
  }
  for (const BoundParam& param : bound) {
    if (param.sink != nullptr) {
      EXPECT_FALSE(param.value.grad().defined()) << "an operator with a sink returned a gradient as well";
      EXPECT_EQ(param.sink->received(), rounds);
      outcome.gradients.push_back(param.sink->gradient);
    } else {
      outcome.gradients.push_back(param.value.grad());
    }
  }
  return outcome;
}

/// Largest difference relative to the larger of 1 and the reference's largest element.
inline double distance(const at::Tensor& a, const at::Tensor& reference) {
  if (a.sizes() != reference.sizes()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0;
  const double scale = std::max(1.0, reference.detach().to(at::kDouble).abs().max().item<double>());
  const double d = (a.detach().to(at::kDouble) - reference.detach().to(at::kDouble)).abs().max().item<double>() / scale;
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

inline void expect_close(const Outcome& a, const Outcome& reference, const std::vector<Input>& inputs, double tolerance,
                         const std::string& what, double factor = 1) {
  ASSERT_EQ(a.outputs.size(), reference.outputs.size());
  for (std::size_t i = 0; i < a.outputs.size(); ++i) {
    EXPECT_LE(distance(a.outputs[i], reference.outputs[i]), tolerance) << what << ": output " << i;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_EQ(a.gradients[i].defined(), reference.gradients[i].defined()) << what << ": gradient of " << inputs[i].name;
    if (!a.gradients[i].defined()) continue;
    EXPECT_LE(distance(a.gradients[i], reference.gradients[i] * (inputs[i].is_weight ? factor : 1)), tolerance)
        << what << ": gradient of " << inputs[i].name;
  }
}

/// fp64 against the fp64 reference through autograd and through sinks (once and twice); fp32 and bf16 with their own
/// tolerance. bf16 takes ATen's path, so it checks that too; a tolerance of 0 leaves a type out.
inline void check_operator(const Operator& op, const Operator& reference, const std::vector<Input>& inputs,
                           double fp32_tolerance = 2e-5, double bf16_tolerance = 3e-2) {
  const Outcome expected = run_operator(reference, inputs, at::kDouble, false);
  expect_close(run_operator(op, inputs, at::kDouble, false), expected, inputs, 1e-11, "fp64");
  expect_close(run_operator(op, inputs, at::kDouble, true), expected, inputs, 1e-11, "fp64 with sinks");
  Outcome twice = run_operator(op, inputs, at::kDouble, true, 2);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_weight && twice.gradients[i].defined()) twice.gradients[i] = twice.gradients[i] / 2;
  }
  expect_close(twice, expected, inputs, 1e-11, "fp64 with sinks, two rounds", 2);
  if (fp32_tolerance > 0) {
    expect_close(run_operator(op, inputs, at::kFloat, true), expected, inputs, fp32_tolerance, "fp32 with sinks");
  }
  if (bf16_tolerance > 0) {
    expect_close(run_operator(op, inputs, at::kBFloat16, true), expected, inputs, bf16_tolerance, "bf16 with sinks");
  }
}

/// fp16 with sinks against the fp64 reference.
inline void check_fp16(const Operator& op, const Operator& reference, const std::vector<Input>& inputs,
                       double tolerance = 4e-3) {
  expect_close(run_operator(op, inputs, at::kHalf, true), run_operator(reference, inputs, at::kDouble, false), inputs,
               tolerance, "fp16 with sinks");
}

} // namespace conclave::testing
