// cross_entropy against ATen's cross_entropy_loss on full logits.

#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/logsumexp.h>

#include "check_operator.hpp"
#include "conclave/ops/cross_entropy.hpp"

namespace conclave::testing {
namespace {

struct LossCase {
  const char* name;
  double smoothing, z_loss;
  std::int64_t tokens, vocabulary, padded;
};

class CrossEntropyTest : public ::testing::TestWithParam<LossCase> {};

TEST_P(CrossEntropyTest, EqualsTheUnfusedOne) {
  const LossCase& c = GetParam();
  const at::Tensor labels = at::arange(c.tokens, at::kLong).mul(7).remainder(c.vocabulary).to(test_device());
  const at::Tensor mask = at::arange(c.tokens, at::kLong).remainder(4).ne(1).to(test_device());
  const ops::CrossEntropyOptions options{c.smoothing, c.z_loss, c.vocabulary};
  const auto op = [&](const Bound& p) {
    const auto r = ops::cross_entropy(p[0].value, p[1], labels, mask, options);
    return std::vector{r.loss_sum, r.nll};
  };
  const auto reference = [&](const Bound& p) {
    const at::Tensor logits = at::linear(p[0].value, p[1].value.narrow(0, 0, c.vocabulary));
    const at::Tensor counted = mask.to(logits.scalar_type());
    const at::Tensor smoothed = at::cross_entropy_loss(logits, labels, {}, 0, -100, c.smoothing);
    const at::Tensor z = at::logsumexp(logits, 1).square() * c.z_loss;
    const at::Tensor nll = at::cross_entropy_loss(logits, labels, {}, 0, -100, 0).detach() * counted;
    return std::vector{((smoothed + z) * counted).sum(), nll};
  };
  check_operator(
      op, reference,
      {{"hidden", random_tensor({c.tokens, 6}, "hidden")}, {"head", random_tensor({c.padded, 6}, "head"), true}});
}

INSTANTIATE_TEST_SUITE_P(Options, CrossEntropyTest,
                         ::testing::Values(LossCase{"plain", 0, 0, 13, 17, 17},
                                           LossCase{"smoothing", 0.1, 0, 13, 17, 17},
                                           LossCase{"z_loss", 0, 0.01, 13, 17, 17},
                                           LossCase{"padded_vocabulary", 0.2, 0.02, 13, 17, 24},
                                           LossCase{"several_chunks", 0.1, 0.01, 50, 200003, 200003}),
                         [](const auto& test) { return std::string(test.param.name); });

} // namespace
} // namespace conclave::testing
