// Every collective with every type against what a rank can compute by itself; order; a rank that dies.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "launch/groups.hpp"
#include "rank_bodies.hpp"

namespace conclave::testing_launch {
namespace {

using ::testing::HasSubstr;

constexpr std::array all_types = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kInt,
                                  at::kLong,  at::kByte,   at::kChar,     at::kBool};

/// What rank r of a group has: small whole numbers, which every type adds without rounding; one in three is 0.
at::Tensor part(int rank, std::int64_t rows, at::ScalarType type) {
  return at::arange(rows * 3, at::kLong).add(rank).remainder(3).view({rows, 3}).to(type);
}

struct Here {
  std::unique_ptr<Rendezvous> rendezvous = join_here();
  Mesh mesh = mesh_here(rendezvous->settings().ranks);
  std::shared_ptr<OperationBoard> board = std::make_shared<OperationBoard>();
  std::shared_ptr<Groups> groups;

  explicit Here(std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    auto made = make_groups(*rendezvous, mesh, rendezvous->settings().ranks, Device{}, timeout, board);
    if (!made.ok()) {
      std::fprintf(stderr, "%s\n", made.error().render().c_str());
      std::exit(exit_code(made.error().code));
    }
    groups = *made;
  }
  [[nodiscard]] int rank() const { return rendezvous->settings().ranks.rank; }
};

void check_sums(Group& group, at::ScalarType type) {
  const int n = group.size();
  at::Tensor sum = part(0, 5, type).to(at::kDouble), largest = sum.clone(), least = sum.clone();
  for (int r = 1; r < n; ++r) {
    const at::Tensor other = part(r, 5, type).to(at::kDouble);
    sum += other;
    largest = at::maximum(largest, other);
    least = at::minimum(least, other);
  }
  const std::pair<ReduceOp, at::Tensor> cases[] = {
      {ReduceOp::sum, sum}, {ReduceOp::max, largest}, {ReduceOp::min, least}};
  for (const auto& [op, expected] : cases) {
    at::Tensor tensor = part(group.rank(), 5, type);
    group.all_reduce(tensor, op).wait();
    EXPECT_TRUE(tensor.equal(expected.to(type))) << type << " op " << static_cast<int>(op) << "\n" << tensor;
  }
  // One part for each rank, 2 rows each; and the output in the place of the input's own part.
  at::Tensor parts = part(0, 2 * n, type).to(at::kDouble);
  for (int r = 1; r < n; ++r) parts += part(r, 2 * n, type).to(at::kDouble);
  const at::Tensor expected = parts.narrow(0, 2 * group.rank(), 2).to(type);
  const at::Tensor input = part(group.rank(), 2 * n, type), output = at::empty({2, 3}, type);
  group.reduce_scatter(output, input).wait();
  EXPECT_TRUE(output.equal(expected)) << type << "\n" << output;
  EXPECT_TRUE(input.equal(part(group.rank(), 2 * n, type)));
  const at::Tensor place = input.narrow(0, 2 * group.rank(), 2);
  group.reduce_scatter(place, input).wait();
  EXPECT_TRUE(place.equal(expected)) << type << " in place\n" << place;
}

void check_moves(Group& group, at::ScalarType type) {
  const int n = group.size(), own = group.rank();
  std::vector<at::Tensor> all;
  for (int r = 0; r < n; ++r) all.push_back(part(r, 4, type));
  const at::Tensor output = at::empty({4 * n, 3}, type);
  group.all_gather(output, part(own, 4, type)).wait();
  EXPECT_TRUE(output.equal(at::cat(all))) << type;
  at::Tensor in_place = at::zeros({4 * n, 3}, type);
  in_place.narrow(0, 4 * own, 4).copy_(part(own, 4, type));
  group.all_gather(in_place, in_place.narrow(0, 4 * own, 4)).wait();
  EXPECT_TRUE(in_place.equal(at::cat(all))) << type;

  for (int root = 0; root < n; ++root) {
    at::Tensor tensor = part(own, 4, type);
    group.broadcast(tensor, root).wait();
    EXPECT_TRUE(tensor.equal(part(root, 4, type))) << type << " from " << root;
  }
  // Rank a sends (a + 2 b) % 4 rows to rank b: some of them none.
  const auto rows = [](int from, int to) { return std::int64_t{(from + 2 * to) % 4}; };
  std::vector<std::int64_t> outgoing, incoming;
  std::vector<at::Tensor> sent, expected;
  for (int r = 0; r < n; ++r) {
    outgoing.push_back(rows(own, r));
    incoming.push_back(rows(r, own));
    sent.push_back(part(own + 5 * r, outgoing.back(), type));
    expected.push_back(part(r + 5 * own, incoming.back(), type));
  }
  const at::Tensor wanted = at::cat(expected), got = at::empty(wanted.sizes(), type);
  group.all_to_all(got, at::cat(sent), incoming, outgoing).wait();
  EXPECT_TRUE(got.equal(wanted)) << type << "\n" << got;

  const int next = (own + 1) % n, previous = (own + n - 1) % n;
  const at::Tensor received = at::empty({4, 3}, type);
  Work send = group.send(part(own, 4, type), next);
  group.receive(received, previous).wait();
  send.wait();
  EXPECT_TRUE(received.equal(part(previous, 4, type))) << type;
}

RANK_BODY(collectives) {
  Here here;
  for (Group* group :
       {&here.groups->world(), &here.groups->over({MeshDim::data}), &here.groups->over({MeshDim::tensor}),
        &here.groups->over({MeshDim::expert}), &here.groups->over({MeshDim::expert_data})}) {
    if (group->size() == 1) continue;
    for (const at::ScalarType type : all_types) {
      check_sums(*group, type);
      check_moves(*group, type);
    }
    EXPECT_THROW(group->all_reduce(at::zeros({2}, at::kShort)), std::invalid_argument);
  }
  // A rank that has nothing to send and gets nothing; nobody has anything; rows without elements.
  Group& world = here.groups->world();
  const auto n = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> none(n, 0), in(n, 0), out(n, 0);
  if (world.rank() < 2) in[1 - world.rank()] = out[1 - world.rank()] = 2;
  const std::int64_t rows = world.rank() < 2 ? 2 : 0;
  const at::Tensor got = at::empty({rows, 3});
  world.all_to_all(got, part(world.rank(), rows, at::kFloat), in, out).wait();
  EXPECT_TRUE(world.rank() >= 2 || got.equal(part(1 - world.rank(), 2, at::kFloat)));
  world.all_to_all(at::empty({0, 3}), at::empty({0, 3}), none, none).wait();
  world.all_to_all(at::empty({rows, 0}), at::empty({rows, 0}), in, out).wait();
  // A number without dimensions, and a tensor of the graph.
  at::Tensor scalar = at::scalar_tensor(world.rank(), at::kDouble);
  world.all_reduce(scalar).wait();
  EXPECT_EQ(scalar.item<double>(), static_cast<double>(n * (n - 1) / 2));
  const at::Tensor leaf = at::ones({3}).requires_grad_(true);
  const at::Tensor gathered = at::empty({static_cast<std::int64_t>(3 * n)});
  world.all_gather(gathered, leaf).wait();
  EXPECT_TRUE(gathered.equal(at::ones_like(gathered)));
  EXPECT_TRUE(here.rendezvous->leave().ok());
  return 0;
}

RANK_BODY(group_members) {
  Here here; // pipeline 2 x data 1 x tensor 2, expert 2: ranks 0 1 | 2 3
  const int rank = here.rank();
  const auto members = [](Group& group) {
    at::Tensor all = at::empty({group.size()}, at::kLong);
    group.all_gather(all, at::full({1}, std::stol(variable("CONCLAVE_RANK", "-1")), at::kLong)).wait();
    return std::vector<std::int64_t>(all.data_ptr<std::int64_t>(), all.data_ptr<std::int64_t>() + all.numel());
  };
  using Ranks = std::vector<std::int64_t>;
  const Ranks stage = rank < 2 ? Ranks{0, 1} : Ranks{2, 3};
  EXPECT_EQ(members(here.groups->world()), (Ranks{0, 1, 2, 3}));
  EXPECT_EQ(members(here.groups->over({MeshDim::tensor})), stage);
  EXPECT_EQ(members(here.groups->over({MeshDim::expert})), stage);
  EXPECT_EQ(members(here.groups->over({MeshDim::pipeline})), (Ranks{rank % 2, rank % 2 + 2}));
  EXPECT_EQ(here.groups->over({MeshDim::data}).size(), 1);
  EXPECT_EQ(here.groups->over({MeshDim::pipeline}).rank(), rank / 2);
  EXPECT_EQ(here.groups->over({MeshDim::tensor, MeshDim::data}).name(), "data+tensor");
  EXPECT_EQ(&here.groups->over({MeshDim::tensor}), &here.groups->over({MeshDim::tensor}));
  EXPECT_THROW(static_cast<void>(here.groups->over({MeshDim::tensor, MeshDim::expert})), std::invalid_argument);
  EXPECT_TRUE(here.rendezvous->leave().ok());
  return 0;
}

/// Many under way at a time, waited for in another order; two directions of one pair, each begun by its receiver.
RANK_BODY(order) {
  Here here;
  Group& world = here.groups->world();
  const int n = world.size(), own = world.rank();
  std::vector<at::Tensor> sums, parts;
  std::vector<Work> works;
  for (int i = 0; i < 20; ++i) {
    sums.push_back(at::full({1000 + i}, own + i, at::kDouble));
    works.push_back(world.all_reduce(sums.back()));
    parts.push_back(at::empty({10}, at::kFloat));
    works.push_back(world.reduce_scatter(parts.back(), at::full({10 * n}, own + i, at::kFloat)));
  }
  while (!works.empty()) {
    works.back().wait();
    works.pop_back();
  }
  for (int i = 0; i < 20; ++i) {
    const int expected = n * (n - 1) / 2 + n * i;
    EXPECT_TRUE(sums[static_cast<std::size_t>(i)].eq(expected).all().item<bool>());
    EXPECT_TRUE(parts[static_cast<std::size_t>(i)].eq(expected).all().item<bool>());
  }
  if (own < 2) {
    const int peer = 1 - own;
    std::vector<at::Tensor> in;
    for (int i = 0; i < 5; ++i) {
      in.push_back(at::empty({3 + i}));
      works.push_back(world.receive(in.back(), peer));
    }
    for (int i = 0; i < 5; ++i) works.push_back(world.send(at::full({3 + i}, 10 * own + i, at::kFloat), peer));
    while (!works.empty()) {
      works.back().wait();
      works.pop_back();
    }
    for (int i = 0; i < 5; ++i)
      EXPECT_TRUE(in[static_cast<std::size_t>(i)].eq(10 * peer + i).all().item<bool>())
          << in[static_cast<std::size_t>(i)];
  }
  const auto picture = here.board->picture();
  EXPECT_FALSE(picture.wait.has_value());
  const auto world_calls = std::find_if(picture.sequences.begin(), picture.sequences.end(),
                                        [](const auto& sequence) { return sequence.name == "world"; });
  EXPECT_EQ(world_calls->issued, 40u);
  EXPECT_TRUE(here.rendezvous->leave().ok());
  return 0;
}

/// Sums of reduce_scatter are those of the ranks' order, bit for bit.
RANK_BODY(sum_order) {
  Here here;
  Group& world = here.groups->world();
  const int n = world.size();
  const auto of = [n](int rank) { return at::arange(1, 1 + 64 * n, at::kFloat).mul(rank + 1).reciprocal(); };
  at::Tensor expected = of(0);
  for (int r = 1; r < n; ++r) expected = expected + of(r);
  const at::Tensor output = at::empty({64});
  world.reduce_scatter(output, of(world.rank())).wait();
  EXPECT_TRUE(output.equal(expected.narrow(0, 64 * world.rank(), 64)));
  // Every rank has the same bits of an all_reduce.
  at::Tensor sum = of(world.rank());
  world.all_reduce(sum).wait();
  at::Tensor all = at::empty({n, sum.numel()});
  world.all_gather(all, sum).wait();
  for (int r = 0; r < n; ++r) EXPECT_TRUE(all[r].equal(sum));
  EXPECT_TRUE(here.rendezvous->leave().ok());
  return 0;
}

/// The last rank dies in the middle; the others must find out, each in the operation it is in.
RANK_BODY(peer_killed) {
  Here here;
  Group& world = here.groups->world();
  at::Tensor tensor = at::ones({1 << 16});
  world.all_reduce(tensor).wait();
  EXPECT_TRUE(here.rendezvous->barrier("all have the first sum").ok());
  if (here.rank() == world.size() - 1) raise(SIGKILL);
  try {
    for (int i = 0; i < 1000; ++i) world.all_reduce(tensor).wait();
    ADD_FAILURE() << "nothing was noticed";
  } catch (const PeerLost& lost) {
    std::fprintf(stderr, "%s\n", lost.what());
    EXPECT_THAT(lost.what(), HasSubstr("all_reduce number 2 over world (ranks 0"));
  }
  here.groups.reset(); // does not wait for anybody
  _exit(::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? 1 : exit_code(Code::peer_lost));
}

/// A collective that one rank never comes to ends with the timeout.
RANK_BODY(never_comes) {
  Here here(std::chrono::seconds(1));
  Group& world = here.groups->world();
  if (here.rank() == 1) {
    pause();
    return 0;
  }
  at::Tensor tensor = at::ones({100});
  EXPECT_THROW(world.all_reduce(tensor).wait(), PeerLost);
  here.groups.reset();
  _exit(::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? 1 : exit_code(Code::peer_lost));
}

} // namespace
} // namespace conclave::testing_launch
