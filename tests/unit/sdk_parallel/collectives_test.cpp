// Collectives and their adjoints against what one rank computes. Whole numbers in fp64: every comparison is exact.

#include "conclave/parallel/collectives.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

#include "conclave/testkit_ranks.hpp"
#include "unit/ops/check_operator.hpp"

namespace conclave::testing {
namespace {

using testkit::run_ranks;

class Collectives : public ::testing::TestWithParam<int> {
 protected:
  /// One tensor a rank, of small whole numbers.
  static std::vector<at::Tensor> tensors(at::IntArrayRef shape, const std::string& name) {
    std::vector<at::Tensor> all;
    for (int r = 0; r < GetParam(); ++r) all.push_back((random_tensor(shape, name + std::to_string(r)) * 8).round());
    return all;
  }
  static at::Tensor part(const at::Tensor& x, int axis, int rank) {
    const std::int64_t size = x.size(axis) / GetParam();
    return x.narrow(axis, rank * size, size);
  }
  static at::Tensor sum(const std::vector<at::Tensor>& all) {
    at::Tensor total = at::zeros_like(all[0]);
    for (const at::Tensor& x : all) total = total + x;
    return total;
  }

  using Call = std::function<at::Tensor(const at::Tensor& x, Group* group)>;
  using Expected = std::function<at::Tensor(int rank)>;
  /// Runs `call` on each rank's x, backward from each rank's seed, in all types.
  static void check(const Call& call, const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& seed,
                    const Expected& output, const Expected& gradient) {
    for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      run_ranks({.tensor = GetParam()}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
        const int rank = mesh.index(MeshDim::tensor);
        const auto own = static_cast<std::size_t>(rank);
        const at::Tensor leaf = x[own].to(type).detach().clone().requires_grad_();
        const at::Tensor y = call(leaf, &groups->over({MeshDim::tensor}));
        EXPECT_TRUE(at::equal(y, output(rank).to(type))) << "rank " << rank << ", " << type;
        torch::autograd::backward({y}, {seed[own].to(type)});
        EXPECT_TRUE(at::equal(leaf.grad(), gradient(rank).to(type))) << "gradient, rank " << rank << ", " << type;
      });
    }
  }
};

TEST_P(Collectives, GatherRows) {
  const auto x = tensors({3, 2, 2}, "x"), seed = tensors({3 * GetParam(), 2, 2}, "seed");
  check(
      parallel::gather_rows, x, seed, [&](int) { return at::cat(x); }, [&](int r) { return part(sum(seed), 0, r); });
}

TEST_P(Collectives, GatherRowsReplicated) {
  const auto x = tensors({3, 2}, "x"), seed = tensors({3 * GetParam(), 2}, "seed");
  check(
      parallel::gather_rows_replicated, x, seed, [&](int) { return at::cat(x); },
      [&](int r) { return part(seed[static_cast<std::size_t>(r)], 0, r); });
}

TEST_P(Collectives, ReduceScatterRows) {
  const auto x = tensors({3 * GetParam(), 2}, "x"), seed = tensors({3, 2}, "seed");
  check(
      parallel::reduce_scatter_rows, x, seed, [&](int r) { return part(sum(x), 0, r); },
      [&](int) { return at::cat(seed); });
}

TEST_P(Collectives, OwnRows) {
  const auto x = tensors({3 * GetParam(), 2}, "x"), seed = tensors({3, 2}, "seed");
  const auto gradient = [&](int r) {
    const at::Tensor whole = at::zeros_like(x[0]);
    part(whole, 0, r).copy_(seed[static_cast<std::size_t>(r)]);
    return whole;
  };
  check(
      parallel::own_rows, x, seed, [&](int r) { return part(x[static_cast<std::size_t>(r)], 0, r); }, gradient);
}

TEST_P(Collectives, GatherColumns) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{3}, {2, 3}, {2, 4, 3}}) {
    std::vector<std::int64_t> whole = shape;
    whole.back() *= GetParam();
    const auto x = tensors(shape, "x"), seed = tensors(whole, "seed");
    check(
        parallel::gather_columns, x, seed, [&](int) { return at::cat(x, -1); },
        [&](int r) { return part(sum(seed), static_cast<int>(shape.size()) - 1, r); });
  }
}

TEST_P(Collectives, AllToAllRows) {
  // Rank s sends (s + d) % n rows to rank d: some nothing, none as many as another.
  const int n = GetParam();
  const auto count = [n](int from, int to) { return std::int64_t{(from + to) % n}; };
  const auto counts = [&](int rank, bool sent) {
    std::vector<std::int64_t> rows;
    for (int other = 0; other < n; ++other) rows.push_back(sent ? count(rank, other) : count(other, rank));
    return rows;
  };
  const std::int64_t rows = n * (n - 1) / 2;
  const auto x = tensors({rows, 2}, "x"), seed = tensors({rows, 2}, "seed");
  /// What arrives at `to`, where `from` holds its rows in the order of their destinations.
  const auto exchanged = [&](const std::vector<at::Tensor>& from, int to) {
    std::vector<at::Tensor> parts;
    for (int r = 0; r < n; ++r) {
      std::int64_t begin = 0;
      for (int before = 0; before < to; ++before) begin += count(r, before);
      parts.push_back(from[static_cast<std::size_t>(r)].narrow(0, begin, count(r, to)));
    }
    return at::cat(parts);
  };
  const auto call = [&](const at::Tensor& own, Group* group) {
    return parallel::all_to_all_rows(own, counts(group->rank(), false), counts(group->rank(), true), group);
  };
  // Counts are symmetric, so the way back is the same exchange.
  check(
      call, x, seed, [&](int r) { return exchanged(x, r); }, [&](int r) { return exchanged(seed, r); });
}

/// A block as a model cuts it: own rows, column-parallel, row-parallel, own rows; beside it a router with a loss over all rows.
TEST_P(Collectives, ATensorParallelBlockIsTheBlockOfOneRank) {
  const std::int64_t n = GetParam(), tokens = 2 * n, width = 6, inner = 3 * n;
  const auto leaf = [](const at::Tensor& v) { return v.detach().clone().requires_grad_(); };
  const at::Tensor x = leaf(random_tensor({tokens, width}, "x")), up = leaf(random_tensor({inner, width}, "up")),
                   down = leaf(random_tensor({width, inner}, "down")), gate = leaf(random_tensor({1, width}, "gate"));
  const at::Tensor seed = random_tensor({tokens, width}, "seed"), one = at::ones({}, at::kDouble);
  const at::Tensor routed = at::linear(x, gate), loss = routed.square().sum().square();
  const at::Tensor y = x + at::linear(at::silu(at::linear(x, up)), down) * routed.sigmoid();
  torch::autograd::backward({y, loss}, {seed, one});

  run_ranks({.tensor = GetParam()}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    const int r = mesh.index(MeshDim::tensor);
    Group* group = &groups->over({MeshDim::tensor});
    const at::Tensor own = leaf(part(x, 0, r)), u = leaf(part(up, 0, r)), d = leaf(part(down, 1, r)), g = leaf(gate);
    const at::Tensor all = parallel::gather_rows(own, group);
    const at::Tensor dense = parallel::reduce_scatter_rows(at::linear(at::silu(at::linear(all, u)), d), group);
    const at::Tensor logits = parallel::gather_rows_replicated(at::linear(own, g), group);
    const at::Tensor own_y = own + dense * parallel::own_rows(logits.sigmoid(), group);
    const at::Tensor own_loss = logits.square().sum().square(); // equal on every rank
    torch::autograd::backward({own_y, own_loss}, {part(seed, 0, r), one});
    group->all_reduce(g.grad()).wait(); // replicated and used on own rows: a partial sum on each rank
    EXPECT_LE(distance(own_y, part(y, 0, r)), 1e-12);
    EXPECT_LE(distance(own_loss, loss), 1e-12);
    EXPECT_LE(distance(own.grad(), part(x.grad(), 0, r)), 1e-12);
    EXPECT_LE(distance(u.grad(), part(up.grad(), 0, r)), 1e-12);
    EXPECT_LE(distance(d.grad(), part(down.grad(), 1, r)), 1e-12);
    EXPECT_LE(distance(g.grad(), gate.grad()), 1e-12);
  });
}

TEST_P(Collectives, RowsThatCannotBeSharedAreRefused) {
  run_ranks({.tensor = GetParam()}, [&](const Mesh&, const std::shared_ptr<Groups>& groups) {
    Group* group = &groups->over({MeshDim::tensor});
    const at::Tensor x = random_tensor({GetParam() + 1, 2}, "x");
    EXPECT_THROW((void)parallel::reduce_scatter_rows(x, group), std::invalid_argument);
    EXPECT_THROW((void)parallel::own_rows(x, group), std::invalid_argument);
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, ::testing::Values(2, 4));

TEST(CollectivesOfOneRank, GiveBackWhatTheyGot) {
  const auto alone = single_rank_groups();
  const at::Tensor x = random_tensor({3, 2}, "x");
  for (Group* group : {static_cast<Group*>(nullptr), &alone->world()}) {
    for (const auto call : {parallel::gather_rows, parallel::gather_rows_replicated, parallel::reduce_scatter_rows,
                            parallel::own_rows, parallel::gather_columns}) {
      EXPECT_TRUE(call(x, group).is_same(x));
    }
    EXPECT_TRUE(parallel::all_to_all_rows(x, {3}, {3}, group).is_same(x));
  }
}

} // namespace
} // namespace conclave::testing
