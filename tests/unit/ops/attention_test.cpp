// attention and head_gate against ATen's math attention with a dense mask.

#include <ATen/ops/arange.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "check_operator.hpp"
#include "conclave/ops/attention.hpp"

namespace conclave::testing {
namespace {

/// What each query may see, written out pair by pair.
at::Tensor dense_mask(std::int64_t batch, std::int64_t length, std::int64_t window, const at::Tensor& segments) {
  at::Tensor mask = at::zeros({batch, 1, length, length}, at::kBool);
  auto sees = mask.accessor<bool, 4>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < length; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const bool near = window == 0 || i - j < window;
        sees[b][0][i][j] = near && (!segments.defined() || segments[b][i].equal(segments[b][j]));
      }
    }
  }
  return mask;
}

struct AttentionCase {
  const char* name;
  std::int64_t length, heads, kv_heads, window;
  enum { none, contiguous, returning } segments;
};

class Attention : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(Attention, EqualsMaskedMathAttention) {
  const AttentionCase& c = GetParam();
  const std::int64_t batch = 2, width = 8;
  at::Tensor segments;
  if (c.segments != AttentionCase::none) {
    segments = at::arange(batch * c.length, at::kInt).view({batch, c.length}).floor_divide(7);
    if (c.segments == AttentionCase::returning)
      segments = segments.remainder(3); // ids come back: equal ids still attend
    segments = segments.to(at::kInt).contiguous();
  }
  const at::Tensor mask = dense_mask(batch, c.length, c.window, segments).to(test_device());
  if (segments.defined()) segments = segments.to(test_device());
  const auto op = [&](const Bound& p) {
    return std::vector{
        ops::attention(p[0].value, p[1].value, p[2].value, ops::make_attention_mask(p[0].value, segments, c.window))};
  };
  const auto reference = [&](const Bound& p) {
    const std::int64_t group = c.heads / c.kv_heads;
    const auto heads_first = [](const at::Tensor& x) { return x.transpose(1, 2); };
    return std::vector{at::scaled_dot_product_attention(heads_first(p[0].value),
                                                        heads_first(p[1].value).repeat_interleave(group, 1),
                                                        heads_first(p[2].value).repeat_interleave(group, 1), mask)
                           .transpose(1, 2)};
  };
  check_operator(op, reference,
                 {{"query", random_tensor({batch, c.length, c.heads, width}, "q")},
                  {"key", random_tensor({batch, c.length, c.kv_heads, width}, "k")},
                  {"value", random_tensor({batch, c.length, c.kv_heads, width}, "v")}});
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         ::testing::Values(AttentionCase{"one_token", 1, 2, 2, 0, AttentionCase::none},
                                           AttentionCase{"causal", 70, 2, 2, 0, AttentionCase::none},
                                           AttentionCase{"grouped", 33, 4, 2, 0, AttentionCase::none},
                                           AttentionCase{"one_key_head", 130, 4, 1, 0, AttentionCase::none},
                                           AttentionCase{"window", 150, 2, 1, 20, AttentionCase::none},
                                           AttentionCase{"window_of_one", 9, 2, 2, 1, AttentionCase::none},
                                           AttentionCase{"window_longer_than_text", 9, 2, 2, 50, AttentionCase::none},
                                           AttentionCase{"segments", 100, 2, 2, 0, AttentionCase::contiguous},
                                           AttentionCase{"segments_in_window", 80, 4, 2, 5, AttentionCase::contiguous},
                                           AttentionCase{"returning_segments", 75, 2, 2, 30, AttentionCase::returning}),
                         [](const auto& shape) { return std::string(shape.param.name); });

TEST(AttentionMask, LaterAndForeignTokensDoNotMatterAtAll) {
  const at::Tensor q = random_tensor({1, 100, 2, 4}, "q", at::kFloat),
                   k = random_tensor({1, 100, 2, 4}, "k", at::kFloat);
  const at::Tensor v = random_tensor({1, 100, 2, 4}, "v", at::kFloat);
  const auto mask = ops::make_attention_mask(q, {}, 0);
  const at::Tensor before = ops::attention(q, k, v, mask);
  const at::Tensor other = v.clone();
  other.narrow(1, 60, 40).fill_(1e6);
  EXPECT_TRUE(ops::attention(q, k, other, mask).narrow(1, 0, 60).equal(before.narrow(1, 0, 60)));
}

TEST(HeadGate, WeighsHeadsAndStartsAtOne) {
  // A head that is no whole vectors, and what the GPU kernels take: less than a warp's, idle lanes, several a lane.
  for (const std::int64_t width : {5, 8, 96, 128, 1032}) {
    const auto op = [](const Bound& p) { return std::vector{ops::head_gate(p[0].value, p[1].value)}; };
    const auto reference = [](const Bound& p) {
      return std::vector{p[0].value * (at::sigmoid(p[1].value) * 2).unsqueeze(-1)};
    };
    const std::vector<Input> inputs{{"x", random_tensor({2, 37, 3, width}, "x")},
                                    {"logits", random_tensor({2, 37, 3}, "l")}};
    check_operator(op, reference, inputs);
    check_fp16(op, reference, inputs);
    const at::Tensor x = random_tensor({1, 2, 3, width}, "x", at::kFloat);
    EXPECT_TRUE(ops::head_gate(x, at::zeros({1, 2, 3}, x.options())).equal(x));
  }
}

TEST(HeadGate, SaturatesWithoutNan) {
  const at::Tensor x = random_tensor({1, 1, 2, 8}, "x", at::kFloat).requires_grad_();
  const at::Tensor logits = at::tensor({200.F, -200.F}, x.options()).view({1, 1, 2}).detach().requires_grad_();
  const at::Tensor y = ops::head_gate(x, logits);
  EXPECT_TRUE(y.select(2, 0).equal(x.select(2, 0) * 2));
  EXPECT_LE(y.select(2, 1).abs().max().item<float>(), 1e-30F); // not a number would fail, too
  y.sum().backward();
  EXPECT_LE(logits.grad().abs().max().item<float>(), 1e-30F);
}

} // namespace
} // namespace conclave::testing
