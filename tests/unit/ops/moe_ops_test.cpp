// swiglu_experts against plain ATen code that names every formula.

#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "check_operator.hpp"
#include "conclave/ops/experts.hpp"

namespace conclave::testing {
namespace {

struct ExpertsCase {
  const char* name;
  std::int64_t width, hidden;
  std::int64_t k = 2;
  bool has_addend = true;
};

class SwigluExperts : public ::testing::TestWithParam<ExpertsCase> {
 protected:
  /// Expert 3 gets nothing; expert 0 gets more than one block of rows, and all there are when k is 1.
  static at::Tensor choose(std::int64_t tokens, std::int64_t k) {
    const at::Tensor chosen = at::zeros({tokens, k}, at::kLong);
    for (std::int64_t t = 0; t < tokens && k > 1; ++t) {
      chosen[t][0] = t % 3 == 0 ? 4 : 0;
      chosen[t][1] = t % 2 == 0 ? 1 : 2;
      if (k > 2) chosen[t][2] = t % 2 == 0 ? 2 : 1;
    }
    return chosen.to(test_device());
  }
};

TEST_P(SwigluExperts, EqualsALoopOverTokens) {
  const auto [name, width, hidden, k, has_addend] = GetParam();
  const std::int64_t tokens = 300, experts = 5;
  const at::Tensor chosen = choose(tokens, k);
  const auto op = [&](const Bound& p) {
    const at::Tensor weights = p[1].value.to(p[0].value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    return std::vector{
        ops::swiglu_experts(p[0].value, weights, chosen, p[2], p[3], p.size() > 4 ? p[4].value : at::Tensor{})};
  };
  const auto reference = [&](const Bound& p) {
    at::Tensor y = p.size() > 4 ? p[4].value : at::zeros_like(p[0].value);
    for (std::int64_t e = 0; e < experts; ++e) {
      const auto both = at::linear(p[0].value, p[2].value[e]).chunk(2, -1);
      const at::Tensor out = at::linear(at::silu(both[0]) * both[1], p[3].value[e]);
      const at::Tensor share = (p[1].value * chosen.eq(e).to(p[1].value.scalar_type())).sum(1, true);
      y = y + out * share;
    }
    return std::vector{y};
  };
  std::vector<Input> inputs{{"x", random_tensor({tokens, width}, "x")},
                            {"weights", random_tensor({tokens, k}, "weights")},
                            {"gate_up", random_tensor({experts, 2 * hidden, width}, "gate_up"), true},
                            {"down", random_tensor({experts, width, hidden}, "down"), true}};
  if (has_addend) inputs.push_back({"addend", random_tensor({tokens, width}, "addend")});
  check_operator(op, reference, inputs);
  for (Input& input : inputs) // to stay in fp16's range
    if (input.is_weight) input.value = input.value / std::sqrt(static_cast<double>(input.value.size(2)));
  check_fp16(op, reference, inputs);
  const Outcome once = run_operator(op, inputs, at::kBFloat16, true);
  expect_close(run_operator(op, inputs, at::kBFloat16, true), once, inputs, 0, "run again");
}

// Rows of odd and of whole 16-byte units.
INSTANTIATE_TEST_SUITE_P(Shapes, SwigluExperts,
                         ::testing::Values(ExpertsCase{"odd", 6, 12}, ExpertsCase{"small", 16, 32},
                                           ExpertsCase{"wide", 264, 528}, ExpertsCase{"narrow_hidden", 128, 24},
                                           ExpertsCase{"one_expert_of_all", 64, 72, 1},
                                           ExpertsCase{"three_choices_alone", 72, 40, 3, false}),
                         [](const auto& test) { return std::string(test.param.name); });

} // namespace
} // namespace conclave::testing
