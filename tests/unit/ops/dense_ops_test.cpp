// linear, embedding, rms_norm, split_rotary, swiglu and recompute against ATen's differentiable operators.

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/view_as_real.h>

#include "check_operator.hpp"
#include "conclave/ops/embedding.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/ops/linear.hpp"
#include "conclave/ops/recompute.hpp"
#include "conclave/ops/rms_norm.hpp"
#include "conclave/ops/rotary.hpp"

namespace conclave::testing {
namespace {

TEST(Linear, PlainWithBiasAndWithAddend) {
  const std::vector<Input> inputs{{"x", random_tensor({3, 5, 7}, "x")},
                                  {"weight", random_tensor({4, 7}, "w"), true},
                                  {"bias", random_tensor({4}, "b"), true},
                                  {"addend", random_tensor({3, 5, 4}, "a")}};
  check_operator(
      [](const Bound& p) { return std::vector{ops::linear(p[0].value, p[1], &p[2], p[3].value)}; },
      [](const Bound& p) { return std::vector{at::linear(p[0].value, p[1].value, p[2].value) + p[3].value}; }, inputs);
  const std::vector<Input> two{inputs[0], inputs[1]};
  check_operator([](const Bound& p) { return std::vector{ops::linear(p[0].value, p[1])}; },
                 [](const Bound& p) { return std::vector{at::linear(p[0].value, p[1].value)}; }, two);
}

TEST(Embedding, RepeatedTokensAdd) {
  const at::Tensor tokens = at::tensor({3, 1, 3, 0, 8, 3}, at::kLong).view({2, 3}).to(test_device());
  check_operator([&](const Bound& p) { return std::vector{ops::embedding(tokens, p[0])}; },
                 [&](const Bound& p) { return std::vector{at::embedding(p[0].value, tokens)}; },
                 {{"table", random_tensor({9, 5}, "table"), true}});
}

TEST(RmsNorm, EqualsAten) {
  for (const std::int64_t rows : {1, 3, 200}) { // one block and several
    check_operator([](const Bound& p) { return std::vector{ops::rms_norm(p[0].value, p[1], 1e-3)}; },
                   [](const Bound& p) { return std::vector{at::rms_norm(p[0].value, {37}, p[1].value, 1e-3)}; },
                   {{"x", random_tensor({rows, 37}, "x")}, {"weight", random_tensor({37}, "w"), true}});
  }
}

/// What the GPU kernels take: less than a warp's, several warps', many rows a block, the longest.
const std::vector<std::pair<std::int64_t, std::int64_t>> whole_vectors{{5, 8},     {3, 1032}, {2000, 64},
                                                                       {33, 4096}, {3, 8192}, {2, 16384}};

TEST(RmsNorm, RowsOfWholeVectors) {
  for (const auto& [rows, width] : whole_vectors) {
    const auto op = [](const Bound& p) { return std::vector{ops::rms_norm(p[0].value, p[1], 1e-3)}; };
    const auto reference = [w = width](const Bound& p) {
      return std::vector{at::rms_norm(p[0].value, {w}, p[1].value, 1e-3)};
    };
    const std::vector<Input> inputs{{"x", random_tensor({rows, width}, "x")},
                                    {"weight", random_tensor({width}, "w"), true, true}};
    check_operator(op, reference, inputs);
    check_fp16(op, reference, inputs);
  }
}

TEST(RmsNorm, ResidualIsTheInputAndItsGradientIsAdded) {
  for (const auto& [rows, width] : whole_vectors) {
    const auto op = [](const Bound& p) {
      const auto [normed, residual] = ops::rms_norm_residual(p[0].value, p[1], 1e-3);
      EXPECT_TRUE(residual.equal(p[0].value));
      return std::vector{normed, residual};
    };
    const auto reference = [w = width](const Bound& p) {
      return std::vector{at::rms_norm(p[0].value, {w}, p[1].value, 1e-3), p[0].value * 1};
    };
    const std::vector<Input> inputs{{"x", random_tensor({rows, width}, "x")},
                                    {"weight", random_tensor({width}, "w"), true, true}};
    check_operator(op, reference, inputs);
    check_fp16(op, reference, inputs);
  }
}

TEST(RmsNorm, EitherOutputAloneGoesBack) {
  const at::Tensor x = random_tensor({3, 64}, "x", at::kFloat).requires_grad_();
  const BoundParam weight{random_tensor({64}, "w", at::kFloat).requires_grad_(), nullptr};
  const at::Tensor seed = random_tensor({3, 64}, "seed", at::kFloat);
  ops::rms_norm_residual(x, weight, 1e-3).residual.backward(seed);
  EXPECT_TRUE(x.grad().equal(seed));
  EXPECT_TRUE(!weight.value.grad().defined() || weight.value.grad().eq(0).all().item<bool>());
  x.mutable_grad().reset();
  ops::rms_norm_residual(x, weight, 1e-3).normed.backward(seed);
  const at::Tensor dx = x.grad().clone();
  x.mutable_grad().reset();
  ops::rms_norm(x, weight, 1e-3).backward(seed);
  EXPECT_TRUE(dx.equal(x.grad()));
}

TEST(RmsNorm, NoRows) {
  const at::Tensor x = random_tensor({0, 64}, "x", at::kFloat).requires_grad_();
  GradSink sink;
  sink.gradient = at::ones({64}, x.options());
  sink.begin_step();
  const BoundParam weight{random_tensor({64}, "w", at::kFloat).requires_grad_(), &sink};
  ops::rms_norm(x, weight, 1e-3).backward(at::ones({0, 64}, x.options()));
  EXPECT_TRUE(sink.gradient.eq(0).all().item<bool>());
}

TEST(Swiglu, EqualsAten) {
  const auto reference = [](const Bound& p) {
    const auto both = at::linear(p[0].value, p[1].value).chunk(2, -1);
    return std::vector{p[3].value + at::linear(at::silu(both[0]) * both[1], p[2].value)};
  };
  const auto op = [](const Bound& p) { return std::vector{ops::swiglu(p[0].value, p[1], p[2], p[3].value)}; };
  for (const std::int64_t hidden : {11, 32, 264}) { // rows of odd and of whole 16-byte units
    const std::vector<Input> inputs{{"x", random_tensor({2, 3, 6}, "x")},
                                    {"gate_up", random_tensor({2 * hidden, 6}, "gu"), true},
                                    {"down", random_tensor({6, hidden}, "d"), true},
                                    {"addend", random_tensor({2, 3, 6}, "a")}};
    check_operator(op, reference, inputs);
    check_fp16(op, reference, inputs);
  }
}

/// Rotation as multiplication of complex numbers, pairs half a head apart.
at::Tensor rotate_reference(const at::Tensor& x, const at::Tensor& positions, double theta) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor frequency = at::arange(half, x.options()).mul(-std::log(theta) / static_cast<double>(half)).exp();
  const at::Tensor angle = (positions.to(at::kDouble).unsqueeze(-1) * frequency).unsqueeze(2);
  const at::Tensor turned =
      at::complex(x.narrow(-1, 0, half), x.narrow(-1, half, half)) * at::complex(angle.cos(), angle.sin());
  const at::Tensor parts = at::view_as_real(turned);
  return at::cat(std::vector<at::Tensor>{parts.select(-1, 0), parts.select(-1, 1)}, -1);
}

struct RotaryCase {
  const char* name;
  std::int64_t heads, kv_heads, width, length;
  bool normed;
};

class SplitRotary : public ::testing::TestWithParam<RotaryCase> {};

TEST_P(SplitRotary, EqualsComplexRotation) {
  const RotaryCase& c = GetParam();
  const at::Tensor positions = at::arange(2 * c.length).mul(7).add(30).remainder(31).view({2, -1}).to(test_device());
  const auto op = [&](const Bound& p) {
    const auto table = ops::make_rotary_table(31, c.width, 100, p[0].value.scalar_type(), test_device());
    const ops::QkNorm norm{p[1], p[2], 1e-3};
    const auto qkv = ops::split_rotary(p[0].value, c.heads, c.kv_heads, positions, table, c.normed ? &norm : nullptr);
    return std::vector{qkv.query, qkv.key, qkv.value};
  };
  const auto reference = [&](const Bound& p) {
    const auto parts = p[0].value.view({2, c.length, c.heads + 2 * c.kv_heads, c.width})
                           .split_with_sizes({c.heads, c.kv_heads, c.kv_heads}, 2);
    at::Tensor query = parts[0], key = parts[1];
    if (c.normed) {
      query = at::rms_norm(query, {c.width}, p[1].value, 1e-3);
      key = at::rms_norm(key, {c.width}, p[2].value, 1e-3);
    }
    return std::vector{rotate_reference(query, positions, 100), rotate_reference(key, positions, 100), parts[2]};
  };
  std::vector<Input> inputs{{"qkv", random_tensor({2, c.length, (c.heads + 2 * c.kv_heads) * c.width}, "qkv")}};
  if (c.normed) {
    inputs.push_back({"query_norm", random_tensor({c.width}, "qn"), true, true});
    inputs.push_back({"key_norm", random_tensor({c.width}, "kn"), true, true});
  }
  const auto without_weights = [&](const Bound& p) { return op({p[0], {}, {}}); };
  const testing::Operator chosen = c.normed ? testing::Operator(op) : testing::Operator(without_weights);
  check_operator(chosen, reference, inputs);
  check_fp16(chosen, reference, inputs);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SplitRotary,
    ::testing::Values(
        RotaryCase{"plain", 4, 2, 6, 5, false}, //
        RotaryCase{"normed", 4, 2, 6, 5, true}, RotaryCase{"a_vector_each", 3, 3, 16, 5, false},
        RotaryCase{"a_vector_each_normed", 3, 3, 16, 5, true}, RotaryCase{"many_tokens", 2, 1, 16, 900, false},
        RotaryCase{"many_tokens_normed", 2, 1, 16, 900, true}, RotaryCase{"usual", 16, 4, 128, 7, false},
        RotaryCase{"usual_normed", 16, 4, 128, 7, true}, RotaryCase{"idle_lanes", 5, 1, 96, 7, false},
        RotaryCase{"idle_lanes_normed", 5, 1, 96, 7, true}, RotaryCase{"widest_fp32", 2, 1, 256, 3, false},
        RotaryCase{"widest_fp32_normed", 2, 1, 256, 3, true}, RotaryCase{"widest_normed", 1, 1, 512, 3, true},
        RotaryCase{"too_wide_normed", 2, 1, 544, 3, true}),
    [](const auto& shape) { return std::string(shape.param.name); });

TEST(SplitRotaryTable, KeepsLengthsAndRelativePositions) {
  const auto table = ops::make_rotary_table(64, 8, 10000, at::kDouble, test_device());
  const at::Tensor qkv = random_tensor({1, 1, 24}, "qkv");
  const auto at_position = [&](std::int64_t n) {
    return ops::split_rotary(qkv, 1, 1, at::tensor({n}, at::kLong).view({1, 1}).to(test_device()), table);
  };
  const auto near = at_position(3), far = at_position(40), near_key = at_position(1), far_key = at_position(38);
  EXPECT_NEAR(near.query.norm().item<double>(), qkv.narrow(2, 0, 8).norm().item<double>(), 1e-12);
  EXPECT_NEAR((near.query * near_key.key).sum().item<double>(), (far.query * far_key.key).sum().item<double>(), 1e-12);
  EXPECT_GT((near.query - far.query).abs().max().item<double>(), 0.1);
}

// On the CPU whatever the device: a GPU would have to be asked.
TEST(SplitRotaryTable, RefusesAPositionBeyondTheTable) {
  const auto table = ops::make_rotary_table(4, 8, 10000, at::kDouble, at::kCPU);
  const at::Tensor qkv = at::ones({1, 1, 24}, at::kDouble), beyond = at::tensor({4}, at::kLong).view({1, 1});
  EXPECT_THROW(ops::split_rotary(qkv, 1, 1, beyond, table), c10::Error);
}

TEST(Recompute, GradientsAreBitwiseTheSameAndStatisticsCountOnce) {
  int first_runs = 0, second_runs = 0;
  const auto part = [&](const BoundParam& w, const at::Tensor& x, bool again) {
    ++(again ? second_runs : first_runs);
    const at::Tensor y = ops::linear(x, w).tanh();
    return std::vector{y, y.square().sum()};
  };
  const std::vector<Input> inputs{{"x", random_tensor({5, 7}, "x")}, {"w", random_tensor({7, 7}, "w"), true}};
  const auto plain =
      testing::run_operator([&](const Bound& p) { return part(p[1], p[0].value, false); }, inputs, at::kFloat, true);
  first_runs = 0;
  const auto again = testing::run_operator(
      [&](const Bound& p) {
        return ops::recompute([&part, &p](const at::Tensor& x, bool a) { return part(p[1], x, a); }, p[0].value);
      },
      inputs, at::kFloat, true);
  EXPECT_EQ(first_runs, 1);
  EXPECT_EQ(second_runs, 1);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(again.gradients[i].equal(plain.gradients[i])) << inputs[i].name;
    EXPECT_TRUE(again.outputs[i].equal(plain.outputs[i]));
  }
}

TEST(Recompute, ReachesParametersWhenTheInputNeedsNoGradient) {
  BoundParam w{random_tensor({3, 3}, "w").requires_grad_(), nullptr};
  const auto outputs = ops::recompute([&](const at::Tensor& x, bool) { return std::vector{ops::linear(x, w)}; },
                                      random_tensor({2, 3}, "x"));
  outputs[0].sum().backward();
  EXPECT_TRUE(w.value.grad().defined());
}

} // namespace
} // namespace conclave::testing
