// The split embedding and loss against conclave/ops on one rank.

#include "conclave/parallel/vocabulary.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "conclave/ops/embedding.hpp"
#include "conclave/ops/parameter.hpp"
#include "conclave/parallel/collectives.hpp"
#include "conclave/testkit_ranks.hpp"
#include "unit/ops/check_operator.hpp"

namespace conclave::testing {
namespace {

using parallel::VocabularyRange;
using testkit::run_ranks;

constexpr auto all_reduces = static_cast<std::size_t>(Collective::all_reduce);

/// A leaf, and a sink when one is wanted, whose stale gradient is no number.
struct Parameter {
  Parameter(const at::Tensor& values, bool with_sink) {
    bound.value = values.detach().clone().requires_grad_();
    if (!with_sink) return;
    sink.gradient =
        at::full_like(values, std::nan(""), values.options().dtype(ops::accumulation_type(values.scalar_type())));
    sink.begin_step();
    bound.sink = &sink;
  }
  [[nodiscard]] at::Tensor gradient() const { return bound.sink != nullptr ? sink.gradient : bound.value.grad(); }
  BoundParam bound;
  GradSink sink;
};

/// This rank's rows of a table of the whole vocabulary; what is no id is padding, which nothing may read.
at::Tensor local_rows(const at::Tensor& table, const VocabularyRange& range) {
  const at::Tensor local = at::full({range.local, table.size(1)}, std::nan(""), table.options());
  if (range.real > 0) local.narrow(0, 0, range.real).copy_(table.narrow(0, range.first, range.real));
  return local;
}

/// The gradient of the real rows is the reference's, that of padding is zero.
void expect_gradient(const at::Tensor& local, const at::Tensor& whole, const VocabularyRange& range, double tolerance) {
  const at::Tensor expected = at::zeros({range.local, whole.size(1)}, whole.options());
  if (range.real > 0) expected.narrow(0, 0, range.real).copy_(whole.narrow(0, range.first, range.real));
  EXPECT_LE(distance(local, expected), tolerance) << "rows from " << range.first;
}

TEST(VocabularyRangeTest, CoversEveryIdOnce) {
  for (const std::int64_t vocabulary : {1, 7, 8, 9, 32000}) {
    for (const int ranks : {1, 2, 4, 8}) {
      std::int64_t next = 0;
      for (int r = 0; r < ranks; ++r) {
        const VocabularyRange range = parallel::vocabulary_range(vocabulary, ranks, r);
        EXPECT_EQ(range.local, (vocabulary + ranks - 1) / ranks);
        EXPECT_EQ(range.first, r * range.local);
        EXPECT_LE(range.real, range.local);
        if (range.real > 0) {
          EXPECT_EQ(range.first, next);
        }
        next += range.real;
      }
      EXPECT_EQ(next, vocabulary);
    }
  }
  EXPECT_EQ(parallel::vocabulary_range(5, 4, 3).real, 0); // 2, 2, 1 and none
}

struct EmbeddingCase {
  int ranks;
  std::int64_t vocabulary;
};

class SplitEmbedding : public ::testing::TestWithParam<EmbeddingCase> {};

TEST_P(SplitEmbedding, IsTheEmbeddingOfOneRank) {
  const auto [ranks, vocabulary] = GetParam();
  const at::Tensor tokens = at::arange(24, at::kLong).mul(7).remainder(vocabulary).view({2, 12});
  const at::Tensor table = random_tensor({vocabulary, 5}, "table"), seed = random_tensor({24, 5}, "seed");
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    // Lookups are exact in every type, so are sums of two or three tokens in one order.
    Parameter whole(table.to(type), true);
    const at::Tensor expected = ops::embedding(tokens, whole.bound).view({24, 5});
    torch::autograd::backward({expected}, {seed.to(type)});
    for (const bool with_sink : {true, false}) {
      run_ranks({.tensor = ranks}, [&, vocabulary = vocabulary, ranks = ranks](const Mesh& mesh, const auto& groups) {
        const int r = mesh.index(MeshDim::tensor);
        const VocabularyRange range = parallel::vocabulary_range(vocabulary, ranks, r);
        Parameter local(local_rows(table.to(type), range), with_sink);
        Group* group = &groups->over({MeshDim::tensor});
        const std::int64_t rows = 24 / ranks;
        const at::Tensor y = parallel::embedding(tokens, local.bound, range.first, group);
        EXPECT_EQ(y.scalar_type(), type);
        EXPECT_TRUE(at::equal(y, expected.narrow(0, r * rows, rows))) << "rank " << r;
        torch::autograd::backward({y}, {seed.to(type).narrow(0, r * rows, rows)});
        expect_gradient(local.gradient(), whole.gradient(), range, with_sink || type == at::kDouble ? 0 : 1e-2);
        EXPECT_EQ(local.sink.received(), with_sink ? 1 : 0);
        const int calls = ranks > 1 ? 1 : 0; // of all_gather and reduce_scatter
        EXPECT_THAT(group->traffic().calls, ::testing::ElementsAre(0, calls, calls, 0, 0, 0));
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SplitEmbedding,
                         ::testing::Values(EmbeddingCase{1, 10}, EmbeddingCase{2, 10}, EmbeddingCase{2, 11},
                                           EmbeddingCase{4, 10}, EmbeddingCase{4, 5}),
                         [](const auto& test) {
                           return "Ranks" + std::to_string(test.param.ranks) + "Ids" +
                                  std::to_string(test.param.vocabulary);
                         });

struct LossCase {
  const char* name;
  int ranks;
  std::int64_t tokens, vocabulary;
  double smoothing, z_loss;
};

class SplitCrossEntropy : public ::testing::TestWithParam<LossCase> {
 protected:
  const LossCase& c = GetParam();
  const at::Tensor labels = at::arange(c.tokens, at::kLong).mul(7).remainder(c.vocabulary);
  const at::Tensor mask = at::arange(c.tokens, at::kLong).remainder(4).ne(1);
  const at::Tensor hidden = random_tensor({c.tokens, 6}, "hidden"), head = random_tensor({c.vocabulary, 6}, "head");
  const ops::CrossEntropyOptions options{c.smoothing, c.z_loss, c.vocabulary};
  const at::Tensor seed = at::full({}, 0.25, at::kDouble);

  /// Against the operator in fp64, `rounds` backward passes.
  void check(at::ScalarType type, bool with_sink, int rounds, double tolerance) {
    Parameter whole(head, true);
    const at::Tensor x = hidden.detach().clone().requires_grad_();
    const auto expected = ops::cross_entropy(x, whole.bound, labels, mask, options);
    torch::autograd::backward({expected.loss_sum}, {seed});

    run_ranks({.tensor = c.ranks}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
      const int r = mesh.index(MeshDim::tensor);
      const std::int64_t rows = c.tokens / c.ranks;
      const VocabularyRange range = parallel::vocabulary_range(c.vocabulary, c.ranks, r);
      Group* group = &groups->over({MeshDim::tensor});
      Parameter local(local_rows(head.to(type), range), with_sink);
      const at::Tensor own = hidden.narrow(0, r * rows, rows).to(type).detach().clone().requires_grad_();
      for (int round = 0; round < rounds; ++round) {
        const auto got = parallel::cross_entropy(parallel::gather_rows(own, group), local.bound, range.first, labels,
                                                 mask, options, group);
        EXPECT_EQ(got.loss_sum.scalar_type(), ops::accumulation_type(type));
        EXPECT_FALSE(got.nll.requires_grad());
        EXPECT_LE(distance(got.loss_sum, expected.loss_sum), tolerance);
        EXPECT_LE(distance(got.nll, expected.nll), tolerance);
        // Equal on every rank, bit for bit.
        const at::Tensor loss = got.loss_sum.detach().clone(), least = loss.clone();
        group->all_reduce(least, ReduceOp::min).wait();
        EXPECT_TRUE(at::equal(loss, least));
        torch::autograd::backward({got.loss_sum}, {seed.to(got.loss_sum.scalar_type())});
      }
      EXPECT_LE(distance(own.grad(), x.grad().narrow(0, r * rows, rows) * rounds), tolerance);
      expect_gradient(local.gradient(), whole.gradient() * rounds, range, tolerance);
      EXPECT_EQ(local.sink.received(), with_sink ? rounds : 0);
    });
  }
};

TEST_P(SplitCrossEntropy, IsTheLossOfOneRank) {
  check(at::kDouble, true, 1, 1e-12);
  check(at::kDouble, true, 2, 1e-12);
  check(at::kDouble, false, 1, 1e-12);
}

TEST_P(SplitCrossEntropy, InOtherTypes) {
  check(at::kFloat, true, 1, 2e-5);
  check(at::kBFloat16, true, 1, 3e-2);
  check(at::kHalf, true, 1, 1e-2);
}

TEST_P(SplitCrossEntropy, WithoutGradientsIsTheSameLoss) {
  const at::NoGradGuard no_grad;
  const auto expected = ops::cross_entropy(hidden, {head, nullptr}, labels, mask, options);
  run_ranks({.tensor = c.ranks}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    const at::NoGradGuard none;
    const VocabularyRange range = parallel::vocabulary_range(c.vocabulary, c.ranks, mesh.index(MeshDim::tensor));
    const auto got = parallel::cross_entropy(hidden, {local_rows(head, range), nullptr}, range.first, labels, mask,
                                             options, &groups->over({MeshDim::tensor}));
    EXPECT_FALSE(got.loss_sum.requires_grad());
    EXPECT_LE(distance(got.loss_sum, expected.loss_sum), 1e-12);
    EXPECT_LE(distance(got.nll, expected.nll), 1e-12);
  });
}

INSTANTIATE_TEST_SUITE_P(Options, SplitCrossEntropy,
                         ::testing::Values(LossCase{"plain", 2, 12, 18, 0, 0}, LossCase{"smoothing", 2, 12, 18, 0.1, 0},
                                           LossCase{"z_loss", 4, 12, 16, 0, 0.01},
                                           LossCase{"uneven", 4, 12, 17, 0.2, 0.02},
                                           LossCase{"a_rank_without_ids", 4, 12, 5, 0.2, 0.02},
                                           LossCase{"one_rank", 1, 12, 17, 0.2, 0.02},
                                           LossCase{"several_chunks", 2, 50, 200003, 0.1, 0.01}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(SplitCrossEntropyTest, LargeLogitsDoNotOverflow) {
  // Labels on one rank, maxima on the other: exp would overflow without the common maximum.
  const at::Tensor hidden = at::full({2, 1}, 1.0, at::kDouble), head = at::arange(4, at::kDouble).view({4, 1}) * 1000;
  const at::Tensor labels = at::zeros({2}, at::kLong), mask = at::ones({2}, at::kBool);
  run_ranks({.tensor = 2}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    const std::int64_t first = 2 * mesh.index(MeshDim::tensor);
    const auto got = parallel::cross_entropy(hidden, {head.narrow(0, first, 2), nullptr}, first, labels, mask,
                                             {0, 0, 4}, &groups->over({MeshDim::tensor}));
    EXPECT_EQ(got.nll[0].item<double>(), 3000);
  });
}

TEST(SplitCrossEntropyTest, SendsTwoSmallTensorsAChunk) {
  // 2^21 / 131072 = 16 tokens a chunk: 40 tokens are three. Each sends a maximum and two or three sums a token.
  const at::Tensor hidden = at::zeros({40, 2}, at::kFloat), labels = at::zeros({40}, at::kLong);
  const at::Tensor mask = at::ones({40}, at::kBool), local = at::zeros({131072, 2}, at::kFloat);
  for (const double smoothing : {0.0, 0.1}) {
    run_ranks({.tensor = 2}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
      Group* group = &groups->over({MeshDim::tensor});
      (void)parallel::cross_entropy(hidden, {local, nullptr}, 131072 * mesh.index(MeshDim::tensor), labels, mask,
                                    {smoothing, 0, 262144}, group);
      EXPECT_EQ(group->traffic().calls[all_reduces], 6);
      EXPECT_EQ(group->traffic().bytes[all_reduces], (smoothing > 0 ? 4 : 3) * 40 * 4);
    });
  }
}

TEST(SplitCrossEntropyTest, NeedsTheTrueVocabulary) {
  run_ranks({.tensor = 2}, [&](const Mesh&, const std::shared_ptr<Groups>& groups) {
    const at::Tensor x = at::zeros({2, 2}), ids = at::zeros({2}, at::kLong), mask = at::ones({2}, at::kBool);
    EXPECT_THROW((void)parallel::cross_entropy(x, {x, nullptr}, 0, ids, mask, {}, &groups->world()),
                 std::invalid_argument);
  });
}

} // namespace
} // namespace conclave::testing
