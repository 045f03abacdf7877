// swiglu_experts against plain ATen code that names every formula.

#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include "check_operator.hpp"
#include "conclave/ops/experts.hpp"

namespace conclave::testing {
namespace {

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
