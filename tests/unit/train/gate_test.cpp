// The gate's arithmetic and the loss scale's rule, each alone.

#include "train/gate.hpp"
#include "train/square_sums.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "train/precision.hpp"

namespace conclave {
namespace {

double value(const at::Tensor& scalar) { return scalar.item<double>(); }
at::Tensor scale_of(double scale) { return at::full({}, scale, at::kFloat); }
at::Tensor squares(const std::vector<at::Tensor>& tensors) { return train::sum_in_order(train::square_sums(tensors)); }

TEST(Gate, ScalesAndClipsByTheUnscaledNorm) {
  train::Gate gate({.clip = 1, .limit = 1e6}, at::kCPU, at::kFloat);
  gate.decide(squares({at::full({3, 3}, 8.0f), at::full({7}, -16.0f)}), scale_of(4)); // unscaled: nine 2s and seven -4s
  const double norm = std::sqrt(9 * 4 + 7 * 16);
  EXPECT_NEAR(value(gate.values().norm_squared), norm * norm, 1e-4);
  EXPECT_NEAR(value(gate.values().clip_factor), 1 / (norm + 1e-6), 1e-8);
  EXPECT_NEAR(value(gate.values().gradient_scale), 1 / (norm + 1e-6) / 4, 1e-8);
  EXPECT_EQ(value(gate.values().apply), 1);
  EXPECT_EQ(value(gate.values().found_inf), 0);
}

TEST(Gate, DoesNotClipSmallOrZeroGradients) {
  const at::Tensor gradient = at::full({4}, 0.25f);
  train::Gate gate({.clip = 1}, at::kCPU, at::kFloat);
  gate.decide(squares({gradient}), scale_of(1));
  EXPECT_EQ(value(gate.values().clip_factor), 1);
  gradient.zero_();
  gate.decide(squares({gradient}), scale_of(1));
  EXPECT_EQ(value(gate.values().clip_factor), 1);
  EXPECT_EQ(value(gate.values().apply), 1);
}

TEST(Gate, ClosesOnWhatIsNotFiniteAndOnTheLimit) {
  const at::Tensor gradient = at::full({1000}, 1.0f);
  train::Gate gate({.clip = 1, .limit = 100}, at::kCPU, at::kFloat);
  gate.decide(squares({gradient}), scale_of(1));
  EXPECT_EQ(value(gate.values().apply), 1);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    gradient[777].fill_(bad);
    gate.decide(squares({gradient}), scale_of(1));
    EXPECT_EQ(value(gate.values().apply), 0);
    EXPECT_EQ(value(gate.values().found_inf), 1);
    EXPECT_TRUE(std::isfinite(value(gate.values().gradient_scale)));
  }
  gradient[777].fill_(101);
  gate.decide(squares({gradient}), scale_of(1));
  EXPECT_EQ(value(gate.values().apply), 0);
  EXPECT_EQ(value(gate.values().found_inf), 0) << "too large, but finite: the loss scale must not shrink";
}

TEST(Gate, OpensOnAZeroGradient) {
  train::Gate gate({.clip = 1, .limit = 1e6}, at::kCPU, at::kFloat);
  gate.decide(at::zeros({}, at::kDouble), scale_of(4));
  EXPECT_EQ(value(gate.values().norm_squared), 0);
  EXPECT_EQ(value(gate.values().apply), 1);
  EXPECT_EQ(value(gate.values().gradient_scale), 0.25);
}

TEST(Gate, LargestFp32GradientsAreFinite) {
  const at::Tensor gradient = at::full({1000}, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(value(squares({gradient}))));
}

TEST(Gate, SumDoesNotDependOnThreads) {
  const at::Tensor gradient = at::ones({300001}, at::kFloat).cumsum(0).reciprocal();
  const int before = at::get_num_threads();
  const double many = value(squares({gradient, gradient}));
  at::set_num_threads(1);
  EXPECT_EQ(value(squares({gradient, gradient})), many);
  at::set_num_threads(before);
  EXPECT_NEAR(many, 2 * value(gradient.to(at::kDouble).square().sum()), 1e-12);
}

TEST(LossScaler, FollowsGradScaler) {
  train::LossScaler scaler({.dynamic = true, .initial = 8, .growth = 2, .backoff = 0.5, .minimum = 2, .interval = 3},
                           at::kCPU, at::kFloat);
  auto after = [&](double found_inf) {
    scaler.update(at::full({}, found_inf, at::kFloat));
    return value(scaler.scale());
  };
  EXPECT_EQ(after(0), 8);
  EXPECT_EQ(after(0), 8);
  EXPECT_EQ(after(0), 16) << "grows at the interval";
  EXPECT_EQ(after(0), 16);
  EXPECT_EQ(after(1), 8) << "backs off and restarts the count";
  EXPECT_EQ(after(0), 8);
  EXPECT_EQ(after(0), 8);
  EXPECT_EQ(after(0), 16);
  for (int i = 0; i < 10; ++i) after(1);
  EXPECT_EQ(value(scaler.scale()), 2) << "the minimum holds";
}

} // namespace
} // namespace conclave
