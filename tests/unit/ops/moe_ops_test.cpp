// route and swiglu_experts against plain ATen code that names every formula.

#include <ATen/ops/linear.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "check_operator.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/ops/router.hpp"

namespace conclave::testing {
namespace {

struct RouteCase {
  const char* name;
  ops::RouterScores scores;
  bool normalise;
  double scaling;
  bool bias, padding;
  ops::BalanceScope scope = ops::BalanceScope::sequence;
};

class Route : public ::testing::TestWithParam<RouteCase> {};

TEST_P(Route, EqualsTheFormulas) {
  const RouteCase& c = GetParam();
  const std::int64_t batch = 3, length = 11, tokens = batch * length, experts = 5, k = 2;
  ops::RouterOptions options;
  options.scores = c.scores;
  options.top_k = k;
  options.normalise_top_k = c.normalise;
  options.scaling = c.scaling;
  options.balance_scope = c.scope;
  const at::Tensor previous = at::tensor({7, 0, 30, 4, 1}, at::kLong).to(test_device());
  const at::Tensor bias = c.bias ? random_tensor({experts}, "bias") * 0.5 : at::Tensor{};
  at::Tensor mask;
  if (c.padding) {
    mask = at::ones({batch, length}, at::kBool);
    mask[0].narrow(0, 7, 4).fill_(false);
    mask[2].fill_(false); // a sequence of padding alone
    mask = mask.to(test_device());
  }
  const auto op = [&](const Bound& p) {
    const auto r = ops::route(p[0].value, bias, mask, batch, options, previous);
    return std::vector{r.weights, r.balance_loss, r.z_loss, r.experts, r.counts};
  };
  const auto reference = [&](const Bound& p) {
    const at::Tensor &logits = p[0].value, probability = at::softmax(logits, 1);
    const bool softmax = c.scores == ops::RouterScores::softmax;
    const at::Tensor scores = softmax ? probability : at::sigmoid(logits);
    const at::Tensor chosen = std::get<1>(at::topk(bias.defined() ? scores.detach() + bias : scores.detach(), k, 1));
    at::Tensor weights = scores.gather(1, chosen);
    if (c.normalise) weights = weights / weights.sum(1, true);
    const at::Tensor hot = at::one_hot(chosen, experts).sum(1).to(logits.scalar_type());
    const at::Tensor share = scores / scores.sum(1, true);
    const at::Tensor real = mask.defined() ? mask : at::ones({batch, length}, logits.options().dtype(at::kBool));
    const auto mean = [](const at::Tensor& rows, const at::Tensor& here) { return rows.index_select(0, here).mean(0); };
    const auto balance_of = [&](const at::Tensor& here) {
      return (mean(hot, here) / k * mean(share, here)).sum() * experts;
    };
    const at::Tensor every = real.view({tokens}).nonzero().squeeze(1);
    at::Tensor balance = at::zeros({}, logits.options());
    if (c.scope == ops::BalanceScope::batch_lagged) {
      balance = (previous.to(logits.scalar_type()) / 42 * share.index_select(0, every)).sum() * experts;
    } else if (c.scope == ops::BalanceScope::micro_batch) {
      balance = balance_of(every) * batch;
    } else {
      for (std::int64_t b = 0; b < batch; ++b) {
        const at::Tensor here = real[b].nonzero().squeeze(1) + b * length;
        if (here.numel() > 0) balance = balance + balance_of(here);
      }
    }
    const at::Tensor row = real.view({tokens}).to(logits.scalar_type());
    return std::vector{weights * c.scaling, balance, (at::logsumexp(logits, 1).square() * row).sum(), chosen,
                       (hot * row.unsqueeze(1)).sum(0).to(at::kLong)};
  };
  // The router runs in fp32 or fp64 only. A choice that fp32 makes differently would be a difference of order 1.
  check_operator(op, reference, {{"logits", random_tensor({tokens, experts}, "logits")}}, 2e-5, 0);
}

INSTANTIATE_TEST_SUITE_P(Options, Route,
                         ::testing::Values(RouteCase{"softmax", ops::RouterScores::softmax, true, 1, false, false},
                                           RouteCase{"softmax_raw", ops::RouterScores::softmax, false, 2.5, false,
                                                     true},
                                           RouteCase{"softmax_bias", ops::RouterScores::softmax, true, 1, true, true},
                                           RouteCase{"sigmoid", ops::RouterScores::sigmoid, true, 2.5, true, true},
                                           RouteCase{"sigmoid_raw", ops::RouterScores::sigmoid, false, 1, false, false},
                                           RouteCase{"softmax_lagged", ops::RouterScores::softmax, true, 1, true, true,
                                                     ops::BalanceScope::batch_lagged},
                                           RouteCase{"sigmoid_lagged", ops::RouterScores::sigmoid, false, 1, false,
                                                     false, ops::BalanceScope::batch_lagged},
                                           RouteCase{"softmax_micro_batch", ops::RouterScores::softmax, false, 1, false,
                                                     false, ops::BalanceScope::micro_batch},
                                           RouteCase{"sigmoid_micro_batch", ops::RouterScores::sigmoid, true, 2.5, true,
                                                     true, ops::BalanceScope::micro_batch}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(RouteLagged, BeforeTheFirstBatchSharesAreEqual) {
  ops::RouterOptions options;
  options.balance_scope = ops::BalanceScope::batch_lagged;
  const at::Tensor logits = random_tensor({10, 4}, "logits"), none = at::zeros({4}, at::kLong).to(test_device());
  EXPECT_NEAR(ops::route(logits, {}, {}, 2, options, none).balance_loss.item<double>(), 10, 1e-12); // 1 for each token
}

// What other devices compute, in a type that has no kernel on the CPU. The logits are whole in it.
TEST(RouteOnCpu, AtensOperatorsAgreeWithTheKernel) {
  const at::Tensor logits = random_tensor({22, 5}, "logits").cpu().mul(8).round().div(4);
  const at::Tensor previous = at::tensor({7, 0, 30, 4, 1}, at::kLong), none = at::zeros({5}, at::kLong);
  at::Tensor mask = at::ones({2, 11}, at::kBool);
  mask[1].narrow(0, 6, 5).fill_(false);
  for (const auto scope :
       {ops::BalanceScope::sequence, ops::BalanceScope::batch_lagged, ops::BalanceScope::micro_batch}) {
    ops::RouterOptions options;
    options.balance_scope = scope;
    for (const at::Tensor& load : {previous, none}) {
      const auto kernel = ops::route(logits, {}, mask, 2, options, load);
      const auto atens = ops::route(logits.to(at::kBFloat16), {}, mask, 2, options, load);
      const auto expected = kernel.balance_loss.item<double>();
      EXPECT_NEAR(atens.balance_loss.item<double>(), expected, 0.02 * expected);
    }
  }
}

// On the CPU whatever the device: ATen's top-k on a GPU promises no order of ties.
TEST(RouteOnCpu, TiesGoToTheLowerExpertAndUniformLoadCostsOne) {
  ops::RouterOptions options;
  const auto r = ops::route(at::zeros({4, 6}, at::kFloat), {}, {}, 2, options);
  EXPECT_TRUE(r.experts.equal(at::tensor({0, 1}, at::kLong).expand({4, 2})));
  EXPECT_NEAR(r.balance_loss.item<float>(), 2, 1e-6); // one for each sequence
}

TEST(RouteOnCpu, NotFiniteLogitsStillNameDistinctExperts) {
  const auto r = ops::route(at::zeros({2, 3}, at::kFloat).fill_(std::nanf("")), {}, {}, 1, {});
  EXPECT_TRUE(r.experts.equal(at::tensor({0, 1}, at::kLong).expand({2, 2})));
}

class SwigluExperts : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(SwigluExperts, EqualsALoopOverTokens) {
  const std::int64_t tokens = 300, experts = 5, width = GetParam(), hidden = 2 * width, k = 2;
  // Expert 3 gets nothing; expert 0 gets more than one block of rows.
  at::Tensor chosen = at::zeros({tokens, k}, at::kLong);
  for (std::int64_t t = 0; t < tokens; ++t) {
    chosen[t][0] = t % 3 == 0 ? 4 : 0;
    chosen[t][1] = t % 2 == 0 ? 1 : 2;
  }
  chosen = chosen.to(test_device());
  const auto op = [&](const Bound& p) {
    const at::Tensor weights = p[1].value.to(p[0].value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    return std::vector{ops::swiglu_experts(p[0].value, weights, chosen, p[2], p[3], p[4].value)};
  };
  const auto reference = [&](const Bound& p) {
    at::Tensor y = p[4].value;
    for (std::int64_t e = 0; e < experts; ++e) {
      const auto both = at::linear(p[0].value, p[2].value[e]).chunk(2, -1);
      const at::Tensor out = at::linear(at::silu(both[0]) * both[1], p[3].value[e]);
      const at::Tensor share = (p[1].value * chosen.eq(e).to(p[1].value.scalar_type())).sum(1, true);
      y = y + out * share;
    }
    return std::vector{y};
  };
  check_operator(op, reference,
                 {{"x", random_tensor({tokens, width}, "x")},
                  {"weights", random_tensor({tokens, k}, "weights")},
                  {"gate_up", random_tensor({experts, 2 * hidden, width}, "gate_up"), true},
                  {"down", random_tensor({experts, width, hidden}, "down"), true},
                  {"addend", random_tensor({tokens, width}, "addend")}});
}

INSTANTIATE_TEST_SUITE_P(Widths, SwigluExperts,
                         ::testing::Values(6, 16, 264)); // rows of odd and of whole 16-byte units

} // namespace
} // namespace conclave::testing
