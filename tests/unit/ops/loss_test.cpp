// cross_entropy against ATen's cross_entropy_loss on full logits.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
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
  const std::vector<Input> inputs{{"hidden", random_tensor({c.tokens, 6}, "hidden")},
                                  {"head", random_tensor({c.padded, 6}, "head"), true}};
  check_operator(op, reference, inputs);
  check_fp16(op, reference, inputs);
}

INSTANTIATE_TEST_SUITE_P(
    Options, CrossEntropyTest,
    ::testing::Values(LossCase{"plain", 0, 0, 13, 17, 17}, LossCase{"smoothing", 0.1, 0, 13, 17, 17},
                      LossCase{"z_loss", 0, 0.01, 13, 17, 17}, LossCase{"padded_vocabulary", 0.2, 0.02, 13, 17, 24},
                      LossCase{"several_chunks", 0.1, 0.01, 50, 200003, 200003},
                      // Rows of whole vectors: read at once, in several steps, kept in part, and by
                      // a block that has a multiprocessor for itself.
                      LossCase{"short_rows", 0.1, 0.01, 13, 260, 260}, LossCase{"long_rows", 0, 0.01, 13, 20004, 20004},
                      LossCase{"longer_rows", 0.1, 0, 7, 50000, 50000},
                      LossCase{"longest_rows", 0.1, 0.01, 7, 150000, 150000}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(CrossEntropyWithoutGradients, IsTheSame) {
  const at::Tensor labels = at::arange(9, at::kLong).to(test_device()), mask = labels.ne(4);
  BoundParam head{random_tensor({3004, 8}, "head", at::kFloat).requires_grad_(), nullptr};
  const at::Tensor hidden = random_tensor({9, 8}, "hidden", at::kFloat);
  const auto expected = ops::cross_entropy(hidden, head, labels, mask, {0.1, 0.01});
  const at::NoGradGuard no_grad;
  const auto r = ops::cross_entropy(hidden, head, labels, mask, {0.1, 0.01});
  EXPECT_TRUE(expected.loss_sum.requires_grad());
  EXPECT_TRUE(r.loss_sum.equal(expected.loss_sum));
  EXPECT_TRUE(r.nll.equal(expected.nll));
}

TEST(CrossEntropyOfImpossibleTokens, IsThatOfTheOthers) {
  const at::NoGradGuard no_grad;
  const at::Tensor labels = at::arange(3, at::kLong).to(test_device()), mask = labels.ge(0);
  const at::Tensor hidden = random_tensor({3, 4}, "hidden", at::kFloat).abs() + 1;
  const at::Tensor others = random_tensor({7, 4}, "head", at::kFloat);
  const at::Tensor all = at::cat({others, at::full_like(others, -std::numeric_limits<float>::infinity())});
  const auto nll = [&](const at::Tensor& head) {
    return ops::cross_entropy(hidden, {head, nullptr}, labels, mask, {}).nll;
  };
  EXPECT_LE(distance(nll(all), nll(others)), 1e-6);
}

} // namespace
} // namespace conclave::testing
