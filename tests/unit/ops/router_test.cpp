// route against plain ATen code that names every formula.

#include <ATen/ops/arange.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "check_operator.hpp"
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
  std::int64_t experts = 5, top_k = 2, length = 11;
};

class Route : public ::testing::TestWithParam<RouteCase> {};

TEST_P(Route, EqualsTheFormulas) {
  const RouteCase& c = GetParam();
  const std::int64_t batch = 3, length = c.length, tokens = batch * length, experts = c.experts, k = c.top_k;
  ops::RouterOptions options;
  options.scores = c.scores;
  options.top_k = k;
  options.normalise_top_k = c.normalise;
  options.scaling = c.scaling;
  options.balance_scope = c.scope;
  const at::Tensor previous = at::arange(experts, at::kLong).mul(7).remainder(31).to(test_device());
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
      balance = (previous.to(logits.scalar_type()) / previous.sum() * share.index_select(0, every)).sum() * experts;
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

constexpr auto by_softmax = ops::RouterScores::softmax, by_sigmoid = ops::RouterScores::sigmoid;
constexpr auto sequence = ops::BalanceScope::sequence, lagged = ops::BalanceScope::batch_lagged,
               micro_batch = ops::BalanceScope::micro_batch;

INSTANTIATE_TEST_SUITE_P(
    Options, Route,
    ::testing::Values(RouteCase{"softmax", by_softmax, true, 1, false, false},
                      RouteCase{"softmax_raw", by_softmax, false, 2.5, false, true},
                      RouteCase{"softmax_bias", by_softmax, true, 1, true, true},
                      RouteCase{"sigmoid", by_sigmoid, true, 2.5, true, true},
                      RouteCase{"sigmoid_raw", by_sigmoid, false, 1, false, false},
                      RouteCase{"softmax_lagged", by_softmax, true, 1, true, true, lagged},
                      RouteCase{"sigmoid_lagged", by_sigmoid, false, 1, false, false, lagged},
                      RouteCase{"softmax_micro_batch", by_softmax, false, 1, false, false, micro_batch},
                      RouteCase{"sigmoid_micro_batch", by_sigmoid, true, 2.5, true, true, micro_batch}),
    [](const auto& test) { return std::string(test.param.name); });

// Lanes that share a token, experts of a lane, and one step beyond what kernels take.
INSTANTIATE_TEST_SUITE_P(
    Sizes, Route,
    ::testing::Values(RouteCase{"one_expert", by_softmax, false, 2.5, false, true, sequence, 1, 1, 70},
                      RouteCase{"all_chosen", by_sigmoid, true, 1, true, false, sequence, 4, 4, 64},
                      RouteCase{"16", by_softmax, true, 1, false, true, sequence, 16, 2, 200},
                      RouteCase{"33", by_sigmoid, true, 2.5, true, true, sequence, 33, 5, 65},
                      RouteCase{"64", by_softmax, true, 1, true, true, micro_batch, 64, 6, 130},
                      RouteCase{"128", by_sigmoid, true, 2.5, true, true, lagged, 128, 8, 100},
                      RouteCase{"257", by_softmax, true, 1, false, true, lagged, 257, 16, 33},
                      RouteCase{"512", by_sigmoid, false, 1, true, true, micro_batch, 512, 16, 70},
                      RouteCase{"512_softmax", by_softmax, false, 2.5, false, true, sequence, 512, 16, 70},
                      RouteCase{"too_many_experts", by_softmax, true, 1, false, true, sequence, 513, 2, 20},
                      RouteCase{"too_many_choices", by_softmax, true, 1, false, true, sequence, 20, 17, 20}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(RouteGradients, OfEachResultAddUp) {
  const at::Tensor values = random_tensor({90, 24}, "logits", at::kFloat);
  ops::RouterOptions options;
  options.top_k = 3;
  const auto gradient = [&](std::vector<int> of) {
    const at::Tensor logits = values.clone().requires_grad_();
    const auto r = ops::route(logits, {}, {}, 2, options);
    const std::vector outputs{r.weights, r.balance_loss, r.z_loss};
    std::vector<at::Tensor> roots, seeds;
    for (const int i : of) {
      roots.push_back(outputs[static_cast<std::size_t>(i)]);
      seeds.push_back(random_tensor(roots.back().sizes(), "seed" + std::to_string(i), at::kFloat));
    }
    torch::autograd::backward(roots, seeds);
    return logits.grad();
  };
  const at::Tensor all = gradient({0, 1, 2});
  EXPECT_LE(distance(gradient({0}) + gradient({1}) + gradient({2}), all), 1e-6);
  EXPECT_TRUE(gradient({0, 1, 2}).equal(all)); // the same bits again
}

TEST(RouteLagged, BeforeTheFirstBatchSharesAreEqual) {
  ops::RouterOptions options;
  options.balance_scope = ops::BalanceScope::batch_lagged;
  const at::Tensor logits = random_tensor({10, 4}, "logits"), none = at::zeros({4}, at::kLong).to(test_device());
  const auto loss = [&](at::ScalarType type) {
    return ops::route(logits.to(type), {}, {}, 2, options, none).balance_loss.item<double>();
  };
  EXPECT_NEAR(loss(at::kDouble), 10, 1e-12); // 1 for each token
  EXPECT_NEAR(loss(at::kFloat), 10, 1e-5);
}

TEST(RouteEmpty, NoTokensCostNothing) {
  const auto r = ops::route(random_tensor({0, 4}, "logits", at::kFloat), {}, {}, 2, {});
  EXPECT_EQ(r.experts.sizes(), (std::vector<std::int64_t>{0, 2}));
  EXPECT_TRUE(r.counts.cpu().equal(at::zeros({4}, at::kLong)));
  EXPECT_EQ(r.balance_loss.item<float>(), 0);
  EXPECT_EQ(r.z_loss.item<float>(), 0);
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

TEST(RouteTies, GoToTheLowerExpertAndUniformLoadCostsOne) {
  for (const std::int64_t experts : {6, 100}) {
    const auto r = ops::route(random_tensor({4, experts}, "logits", at::kFloat).zero_(), {}, {}, 2, {});
    EXPECT_TRUE(r.experts.cpu().equal(at::tensor({0, 1}, at::kLong).expand({4, 2})));
    EXPECT_NEAR(r.balance_loss.item<float>(), 2, 1e-6); // one for each sequence
  }
}

TEST(RouteNotFinite, StillNamesDistinctExperts) {
  const auto r = ops::route(random_tensor({2, 3}, "logits", at::kFloat).fill_(std::nan("")), {}, {}, 1, {});
  EXPECT_TRUE(r.experts.cpu().equal(at::tensor({0, 1}, at::kLong).expand({2, 2})));
  EXPECT_TRUE(std::isnan(r.z_loss.item<float>()));
}

} // namespace
} // namespace conclave::testing
