// Experts over ranks against ops::swiglu_experts on one rank with all experts and all tokens.

#include "conclave/parallel/experts.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <array>

#include "conclave/ops/experts.hpp"
#include "conclave/ops/parameter.hpp"
#include "conclave/testkit_ranks.hpp"
#include "unit/ops/check_operator.hpp"

namespace conclave::testing {
namespace {

using testkit::run_ranks;

constexpr std::int64_t expert_count = 8, width = 6, inner = 5;
constexpr auto exchanges = static_cast<std::size_t>(Collective::all_to_all);

/// The choices [T, K] of tokens [first, first + T).
using Choose = std::function<at::Tensor(std::int64_t first, std::int64_t tokens, std::int64_t top_k)>;

at::Tensor spread(std::int64_t first, std::int64_t tokens, std::int64_t top_k) {
  const at::Tensor token = at::arange(first, first + tokens, at::kLong).unsqueeze(1);
  return (token * 5 + at::arange(top_k, at::kLong) * 3).remainder(expert_count);
}
/// Experts below `used` only: the ranks of the others receive nothing.
Choose only_first(std::int64_t used) {
  return [used](std::int64_t first, std::int64_t tokens, std::int64_t top_k) {
    const at::Tensor token = at::arange(first, first + tokens, at::kLong).unsqueeze(1);
    return (token + at::arange(top_k, at::kLong)).remainder(used);
  };
}

struct Case {
  const char* name;
  testkit::RankSizes sizes;
  std::vector<std::int64_t> tokens; ///< of each rank of an expert group
  std::int64_t top_k;
  Choose choose;
  bool addend = false;
};

class ParallelExperts : public ::testing::TestWithParam<Case> {
 protected:
  const Case& c = GetParam();

  [[nodiscard]] std::int64_t total() const {
    std::int64_t n = 0;
    for (const std::int64_t tokens : c.tokens) n += tokens;
    return n;
  }

  static at::Tensor leaf(const at::Tensor& x, at::ScalarType type) {
    return x.to(type).detach().clone().requires_grad_();
  }

  /// Against one rank in fp64, `rounds` backward passes.
  void check(at::ScalarType type, bool with_sinks, int rounds, double tolerance) {
    const at::Tensor x = leaf(random_tensor({total(), width}, "x"), at::kDouble),
                     weights = leaf(random_tensor({total(), c.top_k}, "weights").abs(), at::kDouble),
                     gate_up = leaf(random_tensor({expert_count, 2 * inner, width}, "gate_up"), at::kDouble),
                     down = leaf(random_tensor({expert_count, width, inner}, "down"), at::kDouble),
                     addend = leaf(random_tensor({total(), width}, "addend"), at::kDouble),
                     seed = random_tensor({total(), width}, "seed");
    const at::Tensor y = ops::swiglu_experts(x, weights, c.choose(0, total(), c.top_k), {gate_up, nullptr},
                                             {down, nullptr}, c.addend ? addend : at::Tensor{});
    torch::autograd::backward({y}, {seed});

    run_ranks(c.sizes, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
      const int r = mesh.index(MeshDim::expert), n = mesh.size(MeshDim::expert);
      ASSERT_EQ(c.tokens.size(), static_cast<std::size_t>(n));
      const std::int64_t tokens = c.tokens[static_cast<std::size_t>(r)], local = expert_count / n;
      std::int64_t first = 0;
      for (int before = 0; before < r; ++before) first += c.tokens[static_cast<std::size_t>(before)];
      const auto own_tokens = [&](const at::Tensor& all) { return all.narrow(0, first, tokens); };
      const auto own_experts = [&](const at::Tensor& all) { return all.narrow(0, r * local, local); };

      const auto wide = ops::accumulation_type(type);
      const at::Tensor own_x = leaf(own_tokens(x), type), own_weights = leaf(own_tokens(weights), wide),
                       own_addend = leaf(own_tokens(addend), type);
      BoundParam own_gate_up{leaf(own_experts(gate_up), type), nullptr},
          own_down{leaf(own_experts(down), type), nullptr};
      std::array<GradSink, 2> sinks;
      for (std::size_t i = 0; i < 2 && with_sinks; ++i) {
        BoundParam& bound = i == 0 ? own_gate_up : own_down;
        sinks[i].gradient = at::full_like(bound.value.detach(), std::nan(""), at::TensorOptions().dtype(wide));
        sinks[i].begin_step();
        bound.sink = &sinks[i];
      }
      for (int round = 0; round < rounds; ++round) {
        const at::Tensor own_y =
            parallel::swiglu_experts(own_x, own_weights, c.choose(first, tokens, c.top_k), own_gate_up, own_down,
                                     c.addend ? own_addend : at::Tensor{}, &groups->over({MeshDim::expert}));
        EXPECT_EQ(own_y.scalar_type(), type);
        EXPECT_LE(distance(own_y, own_tokens(y)), tolerance) << "rank " << r;
        torch::autograd::backward({own_y}, {own_tokens(seed).to(type)});
      }
      EXPECT_LE(distance(own_x.grad(), own_tokens(x.grad()) * rounds), tolerance) << "rank " << r;
      EXPECT_LE(distance(own_weights.grad(), own_tokens(weights.grad()) * rounds), tolerance) << "rank " << r;
      if (c.addend) {
        EXPECT_LE(distance(own_addend.grad(), own_tokens(addend.grad()) * rounds), tolerance) << "rank " << r;
      }
      const auto gradient = [](const BoundParam& p) { return p.sink != nullptr ? p.sink->gradient : p.value.grad(); };
      EXPECT_LE(distance(gradient(own_gate_up), own_experts(gate_up.grad()) * rounds), tolerance) << "rank " << r;
      EXPECT_LE(distance(gradient(own_down), own_experts(down.grad()) * rounds), tolerance) << "rank " << r;
      for (const GradSink& sink : sinks) EXPECT_EQ(sink.received(), with_sinks ? rounds : 0);
    });
  }
};

TEST_P(ParallelExperts, AreTheExpertsOfOneRank) {
  check(at::kDouble, true, 1, 1e-12);
  check(at::kDouble, true, 2, 1e-12);
  check(at::kDouble, false, 1, 1e-12);
}

TEST_P(ParallelExperts, InOtherTypes) {
  check(at::kFloat, true, 1, 2e-5);
  check(at::kBFloat16, true, 1, 5e-2);
  check(at::kHalf, true, 1, 1e-2);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, ParallelExperts,
    ::testing::Values(Case{"one_rank", {}, {7}, 2, spread}, Case{"two", {.data = 2, .expert = 2}, {7, 7}, 2, spread},
                      Case{"four", {.data = 2, .tensor = 2, .expert = 4}, {5, 5, 5, 5}, 2, spread},
                      Case{"folded", {.data = 4, .expert = 2}, {6, 6}, 2, spread}, // two groups of the same two parts
                      Case{"other_lengths", {.data = 4, .expert = 4}, {1, 9, 4, 2}, 3, spread},
                      Case{"one_choice", {.data = 2, .expert = 2}, {7, 7}, 1, spread},
                      Case{"addend", {.data = 2, .expert = 2}, {7, 7}, 2, spread, true},
                      Case{"all_to_the_first", {.data = 4, .expert = 4}, {4, 4, 4, 4}, 2, only_first(2)},
                      Case{"a_rank_without_tokens", {.data = 2, .expert = 2}, {0, 6}, 2, spread},
                      Case{"no_tokens_and_none_received", {.data = 4, .expert = 4}, {3, 0, 5, 0}, 2, only_first(4)}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ParallelExpertsTest, SendRowsAndWeightsOnceEachWay) {
  // 4 tokens of 2 choices a rank: token t goes to expert t, on rank 0, and to t + 4, on rank 1: 4 of 8 rows leave each rank.
  run_ranks({.data = 2, .expert = 2}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
    Group& group = groups->over({MeshDim::expert});
    const at::Tensor x = random_tensor({4, width}, "x", at::kBFloat16).requires_grad_(),
                     weights = random_tensor({4, 2}, "weights", at::kFloat).requires_grad_(),
                     gate_up = random_tensor({4, 2 * inner, width}, "gate_up", at::kBFloat16),
                     down = random_tensor({4, width, inner}, "down", at::kBFloat16);
    const at::Tensor experts = at::arange(4, at::kLong).unsqueeze(1) + at::arange(2, at::kLong) * 4;
    const at::Tensor y = parallel::swiglu_experts(x, weights, experts, {gate_up, nullptr}, {down, nullptr}, {}, &group);
    const double counts = 4 * 8, rows = 4 * width * 2, scales = 4 * 4;
    EXPECT_EQ(group.traffic().calls[exchanges], 4);
    EXPECT_EQ(group.traffic().bytes[exchanges], counts + 2 * rows + scales);
    torch::autograd::backward({y.sum()});
    EXPECT_EQ(group.traffic().calls[exchanges], 7);
    EXPECT_EQ(group.traffic().bytes[exchanges], counts + 2 * (2 * rows + scales));
  });
}

/// A rank may receive nothing; its experts' gradients are then zero, and counted as written.
TEST(ParallelExpertsTest, NoRowsMakeGradientsOfZero) {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    std::array<GradSink, 2> sinks;
    const at::Tensor x = at::empty({0, width}, type).requires_grad_(),
                     weights = at::empty({0, 1}, ops::accumulation_type(type)).requires_grad_();
    const BoundParam gate_up{random_tensor({2, 2 * inner, width}, "gate_up", type).requires_grad_(), &sinks[0]},
        down{random_tensor({2, width, inner}, "down", type).requires_grad_(), &sinks[1]};
    for (std::size_t i = 0; i < 2; ++i) {
      sinks[i].gradient = at::full_like((i == 0 ? gate_up : down).value.detach(), std::nan(""),
                                        at::TensorOptions().dtype(ops::accumulation_type(type)));
      sinks[i].begin_step();
    }
    const at::Tensor y = ops::swiglu_experts(x, weights, at::empty({0, 1}, at::kLong), gate_up, down);
    EXPECT_EQ(y.sizes(), x.sizes());
    torch::autograd::backward({y}, {at::empty({0, width}, type)});
    for (const GradSink& sink : sinks) {
      EXPECT_EQ(sink.received(), 1) << type;
      EXPECT_EQ(sink.gradient.abs().max().item<double>(), 0) << type;
    }
  }
}

} // namespace
} // namespace conclave::testing
