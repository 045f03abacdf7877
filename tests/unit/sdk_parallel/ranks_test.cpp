// The ranks of the test kit: their layout is a run's, their collectives are the contracts', and none hangs.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>

#include <atomic>

#include "conclave/testkit_ranks.hpp"
#include "launch/ranks.hpp"

namespace conclave::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testkit::run_ranks;

std::vector<double> values(const at::Tensor& x) {
  const at::Tensor flat = x.to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

at::Tensor numbers(std::vector<double> values) { return at::tensor(values, at::kDouble); }

/// What run_ranks throws.
template <class Problem>
std::string problem_of(const testkit::RankSizes& sizes,
                       const std::function<void(const Mesh&, const std::shared_ptr<Groups>&)>& body) {
  try {
    run_ranks(sizes, body);
  } catch (const Problem& problem) {
    return problem.what();
  }
  return "no such exception";
}

TEST(Ranks, HaveTheMeshOfARun) {
  for (const testkit::RankSizes sizes :
       {testkit::RankSizes{}, {2, 2, 2, 4}, {1, 4, 2, 2}, {2, 3, 1, 3}, {1, 1, 4, 2}}) {
    const int world = sizes.pipeline * sizes.data * sizes.tensor;
    std::atomic<int> ranks = 0;
    run_ranks(sizes, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
      ++ranks;
      ASSERT_EQ(groups->world().size(), world);
      const auto expected =
          resolve_mesh({sizes.tensor, sizes.pipeline, sizes.expert, sizes.data}, world, groups->world().rank());
      ASSERT_TRUE(expected.ok());
      for (std::size_t d = 0; d < mesh_dim_count; ++d) {
        const auto dim = static_cast<MeshDim>(d);
        EXPECT_EQ(mesh.size(dim), expected->size(dim)) << to_string(dim);
        EXPECT_EQ(mesh.index(dim), expected->index(dim)) << to_string(dim);
      }
    });
    EXPECT_EQ(ranks, world);
  }
}

TEST(Ranks, SizesThatDoNotFitAreRefused) {
  const auto nothing = [](const Mesh&, const std::shared_ptr<Groups>&) {};
  EXPECT_THROW(run_ranks({.data = 0}, nothing), std::invalid_argument);
  EXPECT_THROW(run_ranks({.data = 2, .tensor = 2, .expert = 3}, nothing), std::invalid_argument);
}

/// Numbers in the run of the ranks of this one's group.
std::vector<double> members(Group& group, int world_rank) {
  const at::Tensor own = numbers({static_cast<double>(world_rank)}), all = at::empty({group.size()}, own.options());
  group.all_gather(all, own).wait();
  return values(all);
}

TEST(Ranks, GroupsDifferInTheirDimensionsOnly) {
  // Tensor innermost, then data, then pipeline; experts folded over data and tensor: 8 ranks, rank 5 = (1, 0, 1).
  run_ranks(
      {.pipeline = 2, .data = 2, .tensor = 2, .expert = 2}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
        const int rank = groups->world().rank();
        const auto of = [&](std::initializer_list<MeshDim> dims) { return members(groups->over(dims), rank); };
        const auto world = members(groups->world(), rank), tensor = of({MeshDim::tensor}), data = of({MeshDim::data}),
                   both = of({MeshDim::tensor, MeshDim::data}), pipeline = of({MeshDim::pipeline}),
                   expert = of({MeshDim::expert}), expert_data = of({MeshDim::expert_data}),
                   expert_stages = of({MeshDim::expert, MeshDim::pipeline}), context = of({MeshDim::context});
        EXPECT_EQ(groups->over({MeshDim::data, MeshDim::tensor}).name(), "data+tensor");
        EXPECT_EQ(groups->world().name(), "world");
        EXPECT_EQ(&groups->over({MeshDim::data, MeshDim::tensor}), &groups->over({MeshDim::tensor, MeshDim::data}));
        EXPECT_EQ(groups->all().size(), 9u);
        EXPECT_THROW((void)groups->over({MeshDim::tensor, MeshDim::expert}), std::invalid_argument);
        if (rank != 5) return;
        EXPECT_THAT(world, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
        EXPECT_THAT(tensor, ElementsAre(4, 5));
        EXPECT_THAT(data, ElementsAre(5, 7));
        EXPECT_THAT(both, ElementsAre(4, 5, 6, 7));
        EXPECT_THAT(pipeline, ElementsAre(1, 5));
        EXPECT_THAT(expert, ElementsAre(4, 5));
        EXPECT_THAT(expert_data, ElementsAre(5, 7));
        EXPECT_THAT(expert_stages, ElementsAre(0, 1, 4, 5));
        EXPECT_THAT(context, ElementsAre(5));
        EXPECT_EQ(groups->over({MeshDim::pipeline}).rank(), 1);
      });
}

TEST(Ranks, CollectivesDoWhatTheirContractsSay) {
  run_ranks({.data = 3}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
    Group& group = groups->over({MeshDim::data});
    const int r = group.rank();

    const at::Tensor sum = numbers({1.0 + r, -1.0 * r}), largest = sum.clone(), least = sum.clone();
    group.all_reduce(sum).wait();
    group.all_reduce(largest, ReduceOp::max).wait();
    group.all_reduce(least, ReduceOp::min).wait();
    EXPECT_THAT(values(sum), ElementsAre(6, -3));
    EXPECT_THAT(values(largest), ElementsAre(3, 0));
    EXPECT_THAT(values(least), ElementsAre(1, -2));

    const at::Tensor rows = at::full({3, 2}, r, at::kLong); // the input is this rank's part of the output
    group.all_gather(rows, rows.narrow(0, r, 1)).wait();
    EXPECT_THAT(values(rows), ElementsAre(0, 0, 1, 1, 2, 2));

    const at::Tensor parts = at::arange(6, at::kDouble).view({6}) * (r + 1);
    group.reduce_scatter(parts.narrow(0, 2 * r, 2), parts).wait();
    EXPECT_THAT(values(parts.narrow(0, 2 * r, 2)), ElementsAre(6 * 2 * r, 6 * (2 * r + 1)));

    // Rank r sends `to` rows to each rank, so it gets r rows from each.
    const at::Tensor sent = at::full({3, 2}, 10 * r, at::kFloat), received = at::empty({3 * r, 2}, at::kFloat);
    const std::vector<std::int64_t> to{0, 1, 2}, from(3, r);
    group.all_to_all(received, sent, from, to).wait();
    std::vector<double> expected;
    for (const double source : {0, 10, 20}) expected.insert(expected.end(), static_cast<std::size_t>(2 * r), source);
    EXPECT_EQ(values(received), expected);

    const at::Tensor told = numbers({10.0 + r});
    group.broadcast(told, 1).wait();
    EXPECT_THAT(values(told), ElementsAre(11));

    // Both directions at once, two in a row, awaited in the other order.
    if (r == 2) return;
    const at::Tensor first = numbers({0}), second = numbers({0});
    Work one = group.receive(first, 1 - r), two = group.receive(second, 1 - r);
    group.send(numbers({r + 0.25}), 1 - r).wait();
    group.send(numbers({r + 0.5}), 1 - r).wait();
    two.wait();
    one.wait();
    EXPECT_THAT(values(first), ElementsAre(1 - r + 0.25));
    EXPECT_THAT(values(second), ElementsAre(1 - r + 0.5));
  });
}

TEST(Ranks, AResultIsThereAfterTheWaitOnly) {
  run_ranks({.data = 2}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
    const at::Tensor x = numbers({1});
    Work work = groups->world().all_reduce(x);
    EXPECT_THAT(values(x), ElementsAre(1));
    work.wait();
    EXPECT_THAT(values(x), ElementsAre(2));
  });
}

TEST(Ranks, SumsAreAddedInTheOrderOfRanksInTheirType) {
  run_ranks({.data = 3}, [](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    const float terms[] = {1e8F, -1e8F, 1.0F}; // any other order, or a wider type in between, may give 0 or not 1
    const at::Tensor x = at::full({1}, terms[mesh.index(MeshDim::data)], at::kFloat);
    groups->world().all_reduce(x).wait();
    EXPECT_THAT(values(x), ElementsAre(1));
    const at::Tensor half = at::full({1}, mesh.index(MeshDim::data) == 0 ? 256.0 : 0.75, at::kBFloat16);
    groups->world().all_reduce(half).wait();
    EXPECT_THAT(values(half), ElementsAre(256)); // 256.75 is not a bf16 number; 257.5 would round to 258
  });
}

TEST(Ranks, TrafficIsThatOfTheFormulas) {
  run_ranks({.data = 4}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
    Group& group = groups->world();
    const int r = group.rank();
    const at::Tensor small = at::zeros({4, 2}, at::kFloat), large = at::zeros({16, 2}, at::kFloat); // 32 and 128 bytes
    group.all_reduce(small).wait();
    group.all_gather(large, small).wait();
    group.reduce_scatter(small, large).wait();
    const std::vector<std::int64_t> each{1, 1, 1, 1};
    group.all_to_all(at::zeros_like(small), small, each, each).wait();
    group.broadcast(large, 2).wait();
    if (r == 0) group.send(large, 1).wait();
    if (r == 1) group.receive(large, 0).wait();
    EXPECT_THAT(group.traffic().calls, ElementsAre(1, 1, 1, 1, 1, r == 0 ? 1 : 0));
    EXPECT_THAT(group.traffic().bytes,
                ElementsAre(2 * 0.75 * 32, 0.75 * 128, 0.75 * 128, 24, 0.75 * 128, r == 0 ? 128 : 0));
  });
}

TEST(Ranks, AnExceptionOfOneEndsAll) {
  std::atomic<int> lost = 0;
  const std::string problem = problem_of<std::runtime_error>({.data = 4}, [&](const Mesh& mesh, const auto& groups) {
    if (mesh.index(MeshDim::data) == 2) throw std::runtime_error("rank 2 has had enough");
    try {
      groups->world().all_reduce(numbers({1})).wait();
    } catch (const PeerLost&) {
      ++lost;
      throw;
    }
  });
  EXPECT_EQ(problem, "rank 2 has had enough");
  EXPECT_EQ(lost, 3);
}

TEST(Ranks, ARankThatEndsEarlyIsNoHang) {
  const std::string problem = problem_of<std::logic_error>({.data = 2}, [](const Mesh& mesh, const auto& groups) {
    if (mesh.index(MeshDim::data) == 0) groups->over({MeshDim::data}).all_reduce(numbers({1})).wait();
  });
  EXPECT_THAT(problem, HasSubstr("rank 0 waits in all_reduce(sum) Double [1] over data"));
  EXPECT_THAT(problem, HasSubstr("rank 1 has ended"));
}

TEST(Ranks, WaitingForEachOtherIsNoHang) {
  const std::string problem =
      problem_of<std::logic_error>({.data = 2, .tensor = 2}, [](const Mesh&, const auto& groups) {
        Group &data = groups->over({MeshDim::data}), &tensor = groups->over({MeshDim::tensor});
        const bool odd = (data.rank() + tensor.rank()) % 2 == 1; // in a ring each waits for the next
        const at::Tensor x = numbers({1});
        (odd ? data : tensor).all_reduce(x).wait();
        (odd ? tensor : data).all_reduce(x).wait();
      });
  EXPECT_THAT(problem, HasSubstr("no rank can go on"));
  EXPECT_THAT(problem, HasSubstr("over tensor"));

  const std::string letters = problem_of<std::logic_error>({.data = 2}, [](const Mesh&, const auto& groups) {
    groups->world().receive(numbers({1}), 1 - groups->world().rank()).wait();
  });
  EXPECT_THAT(letters, HasSubstr("rank 1 waits in receive from 0"));
}

TEST(Ranks, CallsThatDoNotMatchAreNamed) {
  const std::string kinds = problem_of<std::logic_error>({.data = 2}, [](const Mesh& mesh, const auto& groups) {
    const at::Tensor x = numbers({1});
    if (mesh.index(MeshDim::data) == 0)
      groups->world().all_reduce(x).wait();
    else
      groups->world().broadcast(x, 0).wait();
  });
  EXPECT_THAT(kinds, HasSubstr("all_reduce(sum) Double [1] on rank 0"));
  EXPECT_THAT(kinds, HasSubstr("broadcast from 0 Double [1] on rank 1"));

  const std::string shapes = problem_of<std::logic_error>({.data = 2}, [](const Mesh& mesh, const auto& groups) {
    groups->world().all_reduce(at::zeros({1 + mesh.index(MeshDim::data)})).wait();
  });
  EXPECT_THAT(shapes, HasSubstr("all_reduce(sum) Float [2] on rank 1"));

  const std::string counts = problem_of<std::logic_error>({.data = 2}, [](const Mesh& mesh, const auto& groups) {
    const std::int64_t own = mesh.index(MeshDim::data);
    const std::vector<std::int64_t> from{1, 1}, to{own, 2 - own};
    groups->world().all_to_all(at::zeros({2, 3}), at::zeros({2, 3}), from, to).wait();
  });
  EXPECT_THAT(counts, HasSubstr("which expects 1"));

  const std::string letters = problem_of<std::logic_error>({.data = 2}, [](const Mesh& mesh, const auto& groups) {
    if (mesh.index(MeshDim::data) == 0)
      groups->world().send(at::zeros({2}), 1).wait();
    else
      groups->world().receive(at::zeros({3}), 0).wait();
  });
  EXPECT_THAT(letters, HasSubstr("send Float [2]"));
}

TEST(Ranks, TensorsThatDoNotFitAreRefused) {
  run_ranks({.data = 2}, [](const Mesh&, const std::shared_ptr<Groups>& groups) {
    Group& group = groups->world();
    const at::Tensor x = at::zeros({4, 2});
    const std::vector<std::int64_t> equal{2, 2}, wrong{1, 2};
    EXPECT_THROW((void)group.all_reduce(x.t()), std::invalid_argument);
    EXPECT_THROW((void)group.all_gather(x, x), std::invalid_argument);
    EXPECT_THROW((void)group.all_gather(at::zeros({8, 2}, at::kDouble), x), std::invalid_argument);
    EXPECT_THROW((void)group.reduce_scatter(x, x), std::invalid_argument);
    EXPECT_THROW((void)group.all_to_all(x, x, equal, wrong), std::invalid_argument);
    EXPECT_THROW((void)group.all_to_all(at::zeros({4, 3}), x, equal, equal), std::invalid_argument);
    EXPECT_THROW((void)group.broadcast(x, 2), std::invalid_argument);
    EXPECT_THROW((void)group.send(x, group.rank()), std::invalid_argument);
    EXPECT_THROW((void)group.receive(x, -1), std::invalid_argument);
  });
}

TEST(Ranks, OneRankCommunicatesWithNobody) {
  const auto check = [](Groups& groups) {
    Group& group = groups.over({MeshDim::data});
    const at::Tensor x = numbers({3, 4}), y = at::zeros_like(x), z = at::zeros_like(x);
    const std::vector<std::int64_t> all{2};
    group.all_reduce(x).wait();
    group.all_gather(y, x).wait();
    group.all_to_all(z, x, all, all).wait();
    EXPECT_THAT(values(y), ElementsAre(3, 4));
    EXPECT_THAT(values(z), ElementsAre(3, 4));
    group.reduce_scatter(y, numbers({5, 6})).wait();
    EXPECT_THAT(values(y), ElementsAre(5, 6));
    EXPECT_THAT(group.traffic().calls, ::testing::Each(0));
  };
  check(*single_rank_groups());
  run_ranks({}, [&](const Mesh&, const std::shared_ptr<Groups>& groups) { check(*groups); });
}

} // namespace
} // namespace conclave::testing
