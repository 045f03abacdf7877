// Ranks as threads: one lock, one meeting a group, and a rule that finds out when no rank can go on.

#include "conclave/testkit_ranks.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace conclave::testkit {
namespace {

/// Tensors from one rank of a group to another, by number: receivers may wait for them in any order.
struct Mailbox {
  std::uint64_t sent = 0, asked_for = 0;
  std::map<std::uint64_t, at::Tensor> letters;
};

/// What one rank brings to a collective.
struct Call {
  std::string what; ///< must be the same on every rank of the group
  at::Tensor input;
  std::vector<std::int64_t> input_rows; ///< of all_to_all
};

/// What the ranks of one group share.
struct Meeting {
  std::vector<Call> calls; ///< by rank of the group
  std::size_t arrived = 0;
  std::uint64_t round = 0;
  std::map<std::pair<int, int>, Mailbox> mail; ///< from, to
};

/// What all ranks share. Everything is guarded by its lock, but for the calls of a meeting: between its two rounds they
/// are only read.
class World {
 public:
  explicit World(int ranks) : ranks_(static_cast<std::size_t>(ranks)) {}

  std::shared_ptr<Meeting> meeting(const std::string& name, const std::vector<int>& members) {
    const std::scoped_lock lock(mutex_);
    std::shared_ptr<Meeting>& found = meetings_[{name, members}];
    if (!found) {
      found = std::make_shared<Meeting>();
      found->calls.resize(members.size());
    }
    return found;
  }

  /// Returns once every rank of the group is here.
  void meet(Meeting& meeting, int rank, const std::string& what) {
    std::unique_lock lock(mutex_);
    const std::uint64_t round = meeting.round;
    if (++meeting.arrived == meeting.calls.size()) {
      meeting.arrived = 0;
      ++meeting.round;
      changed_.notify_all();
    }
    wait(lock, rank, what, [&meeting, round] { return meeting.round != round; });
  }

  void post(Meeting& meeting, int from, int to, at::Tensor letter) {
    const std::scoped_lock lock(mutex_);
    Mailbox& box = meeting.mail[{from, to}];
    box.letters[box.sent++] = std::move(letter);
    changed_.notify_all();
  }

  /// The number of the next letter that nobody has asked for.
  std::uint64_t ask(Meeting& meeting, int from, int to) {
    const std::scoped_lock lock(mutex_);
    return meeting.mail[{from, to}].asked_for++;
  }

  at::Tensor take(Meeting& meeting, int from, int to, std::uint64_t number, int rank, const std::string& what) {
    std::unique_lock lock(mutex_);
    Mailbox& box = meeting.mail[{from, to}];
    wait(lock, rank, what, [&box, number] { return box.letters.contains(number); });
    return std::move(box.letters.extract(number).mapped());
  }

  /// The end of a rank; `problem` is null when its body returned.
  void end(int rank, const std::exception_ptr& problem) {
    const std::scoped_lock lock(mutex_);
    state(rank).ended = true;
    if (problem) fail(problem);
    check_progress();
  }

  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  struct RankState {
    bool ended = false;
    std::string what;           ///< that it waits for
    std::function<bool()> done; ///< whether that has come; empty when it does not wait
  };
  RankState& state(int rank) { return ranks_[static_cast<std::size_t>(rank)]; }

  void wait(std::unique_lock<std::mutex>& lock, int rank, const std::string& what, std::function<bool()> done) {
    RankState& own = state(rank);
    own.what = what;
    own.done = std::move(done);
    check_progress();
    changed_.wait(lock, [&] { return first_ || own.done(); });
    own.done = nullptr;
    if (first_) throw PeerLost(what + ": another rank of the test failed");
  }

  void fail(const std::exception_ptr& problem) {
    if (!first_) first_ = problem;
    changed_.notify_all();
  }

  void check_progress() {
    std::string waiting;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const RankState& rank = ranks_[r];
      if (!rank.ended && (!rank.done || rank.done())) return;
      if (!rank.ended) waiting += "\n  rank " + std::to_string(r) + " waits in " + rank.what;
    }
    if (waiting.empty()) return; // all have ended
    for (std::size_t r = 0; r < ranks_.size(); ++r)
      if (ranks_[r].ended) waiting += "\n  rank " + std::to_string(r) + " has ended";
    fail(std::make_exception_ptr(std::logic_error("no rank can go on:" + waiting)));
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RankState> ranks_;
  std::map<std::pair<std::string, std::vector<int>>, std::shared_ptr<Meeting>> meetings_;
  std::exception_ptr first_;
};

std::string describe(const char* call, const at::Tensor& tensor, at::IntArrayRef shape) {
  std::ostringstream out;
  out << call << ' ' << tensor.scalar_type() << ' ' << shape;
  return out.str();
}
std::string describe(const char* call, const at::Tensor& tensor) { return describe(call, tensor, tensor.sizes()); }

/// Adds in the order of ranks.
at::Tensor reduced(const std::vector<at::Tensor>& parts, ReduceOp op) {
  at::Tensor result = parts.front().clone();
  for (std::size_t r = 1; r < parts.size(); ++r) {
    switch (op) {
      case ReduceOp::sum: result.add_(parts[r]); break;
      case ReduceOp::max: at::maximum_out(result, result, parts[r]); break;
      case ReduceOp::min: at::minimum_out(result, result, parts[r]); break;
    }
  }
  return result;
}

class ThreadGroup final : public Group {
 public:
  ThreadGroup(std::string name, std::shared_ptr<World> world, std::vector<int> members, int rank, int world_rank)
      : Group(std::move(name), rank, static_cast<int>(members.size())),
        world_(std::move(world)),
        meeting_(world_->meeting(this->name(), members)),
        world_rank_(world_rank) {}

 protected:
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op) override {
    static constexpr const char* names[] = {"all_reduce(sum)", "all_reduce(max)", "all_reduce(min)"};
    return collective(tensor, {describe(names[static_cast<int>(op)], tensor), tensor, {}},
                      [&] { return reduced(inputs(), op); });
  }

  Work do_all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return collective(output, {describe("all_gather", input), input.view({-1}), {}}, [&] { return at::cat(inputs()); });
  }

  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input) override {
    return collective(output, {describe("reduce_scatter", input), input.view({size(), -1}), {}}, [&] {
      std::vector<at::Tensor> parts;
      for (const at::Tensor& part : inputs()) parts.push_back(part.select(0, rank()));
      return reduced(parts, ReduceOp::sum);
    });
  }

  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, std::span<const std::int64_t> output_rows,
                     std::span<const std::int64_t> input_rows) override {
    Call call{
        describe("all_to_all of rows", input, input.sizes().slice(1)), input, {input_rows.begin(), input_rows.end()}};
    return collective(output, std::move(call), [&] {
      std::vector<at::Tensor> parts;
      for (std::size_t from = 0; from < meeting_->calls.size(); ++from) {
        const Call& other = meeting_->calls[from];
        const auto own = other.input_rows.begin() + rank();
        if (*own != output_rows[from]) {
          throw std::logic_error("all_to_all over " + name() + ": rank " + std::to_string(from) + " sends " +
                                 std::to_string(*own) + " rows to rank " + std::to_string(rank()) + ", which expects " +
                                 std::to_string(output_rows[from]));
        }
        parts.push_back(other.input.narrow(0, std::accumulate(other.input_rows.begin(), own, std::int64_t{0}), *own));
      }
      return at::cat(parts);
    });
  }

  Work do_broadcast(const at::Tensor& tensor, int root) override {
    const std::string call = "broadcast from " + std::to_string(root);
    return collective(tensor, {describe(call.c_str(), tensor), tensor, {}},
                      [&] { return inputs()[static_cast<std::size_t>(root)].clone(); });
  }

  Work do_send(const at::Tensor& tensor, int peer) override {
    const at::NoGradGuard no_grad;
    world_->post(*meeting_, rank(), peer, tensor.clone());
    return {};
  }

  Work do_receive(const at::Tensor& tensor, int peer) override {
    return Work([this, tensor, peer, number = world_->ask(*meeting_, peer, rank())] {
      const std::string what = describe(("receive from " + std::to_string(peer)).c_str(), tensor);
      const at::Tensor letter = world_->take(*meeting_, peer, rank(), number, world_rank_, over(what));
      if (letter.sizes() != tensor.sizes() || letter.scalar_type() != tensor.scalar_type())
        throw std::logic_error(over(what) + ": the peer calls " + describe("send", letter));
      write(tensor, letter);
    });
  }

 private:
  [[nodiscard]] std::string over(const std::string& what) const { return what + " over " + name(); }

  [[nodiscard]] std::vector<at::Tensor> inputs() const {
    std::vector<at::Tensor> all;
    for (const Call& call : meeting_->calls) all.push_back(call.input);
    return all;
  }

  static void write(const at::Tensor& output, const at::Tensor& result) {
    const at::NoGradGuard no_grad;
    output.copy_(result.view(output.sizes()));
  }

  /// Every rank computes its own result from all inputs, which nobody writes before all have done so.
  template <class Compute>
  Work collective(const at::Tensor& output, Call call, const Compute& compute) {
    const at::NoGradGuard no_grad;
    const std::string what = over(call.what);
    meeting_->calls[static_cast<std::size_t>(rank())] = std::move(call);
    world_->meet(*meeting_, world_rank_, what);
    for (std::size_t r = 1; r < meeting_->calls.size(); ++r) {
      if (meeting_->calls[r].what == meeting_->calls[0].what) continue;
      throw std::logic_error("calls over " + name() + " do not match: " + meeting_->calls[0].what + " on rank 0, " +
                             meeting_->calls[r].what + " on rank " + std::to_string(r));
    }
    at::Tensor result = compute();
    world_->meet(*meeting_, world_rank_, what);
    return Work([output, result] { write(output, result); });
  }

  std::shared_ptr<World> world_;
  std::shared_ptr<Meeting> meeting_;
  int world_rank_;
};

int world_size(const RankSizes& sizes) { return sizes.pipeline * sizes.data * sizes.tensor; }

Mesh mesh_of(const RankSizes& sizes, int rank) {
  const int stage = sizes.data * sizes.tensor, place = rank % stage;
  // pipeline, data, context, tensor, expert_data, expert
  return {{sizes.pipeline, sizes.data, 1, sizes.tensor, stage / sizes.expert, sizes.expert},
          {rank / stage, place / sizes.tensor, 0, place % sizes.tensor, place / sizes.expert, place % sizes.expert}};
}

class ThreadGroups final : public Groups {
 public:
  ThreadGroups(std::shared_ptr<World> world, RankSizes sizes, int rank)
      : world_(std::move(world)), sizes_(sizes), rank_(rank) {}

  Group& over(std::span<const MeshDim> dims) override {
    const auto named = [&](MeshDim dim) { return std::find(dims.begin(), dims.end(), dim) != dims.end(); };
    const bool folded = named(MeshDim::expert_data) || named(MeshDim::expert);
    if (folded && (named(MeshDim::data) || named(MeshDim::context) || named(MeshDim::tensor)))
      throw std::invalid_argument("a group is over dense dimensions or over the experts', not over both");
    const std::vector<MeshDim> view =
        folded ? std::vector{MeshDim::pipeline, MeshDim::expert_data, MeshDim::expert}
               : std::vector{MeshDim::pipeline, MeshDim::data, MeshDim::context, MeshDim::tensor};
    std::string name;
    for (const MeshDim dim : view)
      if (named(dim)) name += (name.empty() ? "" : "+") + std::string(to_string(dim));
    const Mesh own = mesh_of(sizes_, rank_);
    return group(name, [&](const Mesh& other) {
      return std::all_of(view.begin(), view.end(),
                         [&](MeshDim dim) { return named(dim) || other.index(dim) == own.index(dim); });
    });
  }

  Group& world() override {
    return group("world", [](const Mesh&) { return true; });
  }

  [[nodiscard]] std::vector<const Group*> all() const override {
    std::vector<const Group*> made;
    for (const auto& [name, group] : groups_) made.push_back(group.get());
    return made;
  }

 private:
  template <class Belongs>
  Group& group(const std::string& name, const Belongs& belongs) {
    std::unique_ptr<ThreadGroup>& found = groups_[name];
    if (!found) {
      std::vector<int> members;
      for (int r = 0; r < world_size(sizes_); ++r)
        if (belongs(mesh_of(sizes_, r))) members.push_back(r);
      const auto own = std::find(members.begin(), members.end(), rank_);
      const int place = static_cast<int>(own - members.begin());
      found = std::make_unique<ThreadGroup>(name, world_, std::move(members), place, rank_);
    }
    return *found;
  }

  std::shared_ptr<World> world_;
  RankSizes sizes_;
  int rank_;
  std::map<std::string, std::unique_ptr<ThreadGroup>> groups_;
};

} // namespace

void run_ranks(const RankSizes& sizes,
               const std::function<void(const Mesh& mesh, const std::shared_ptr<Groups>& groups)>& body) {
  if (sizes.pipeline < 1 || sizes.data < 1 || sizes.tensor < 1 || sizes.expert < 1)
    throw std::invalid_argument("run_ranks: a size is less than 1");
  if (sizes.data * sizes.tensor % sizes.expert != 0)
    throw std::invalid_argument("run_ranks: expert does not divide data * tensor");
  const auto world = std::make_shared<World>(world_size(sizes));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world_size(sizes); ++rank) {
      threads.emplace_back([&, rank] {
        std::exception_ptr problem;
        try {
          body(mesh_of(sizes, rank), std::make_shared<ThreadGroups>(world, sizes, rank));
        } catch (...) {
          problem = std::current_exception();
        }
        world->end(rank, problem);
      });
    }
  }
  world->rethrow();
}

} // namespace conclave::testkit
