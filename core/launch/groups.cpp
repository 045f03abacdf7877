// Groups over c10d's Gloo and NCCL backends.

#include "launch/groups.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "launch/c10d_store.hpp"
#include "launch/nccl/nccl_backend.hpp"
#include "launch/sockets.hpp"

namespace conclave {
namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;
using Pending = c10::intrusive_ptr<c10d::Work>;

c10d::ReduceOp reduce_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum: return c10d::ReduceOp::SUM;
    case ReduceOp::max: return c10d::ReduceOp::MAX;
    case ReduceOp::min: return c10d::ReduceOp::MIN;
  }
  return c10d::ReduceOp::SUM;
}

/// The memory of a contiguous tensor as bytes, [rows, bytes of a row].
at::Tensor bytes_of_rows(const at::Tensor& tensor, std::int64_t rows) {
  return tensor.detach().view({-1}).view(at::kByte).view({rows, -1});
}
at::Tensor bytes_of(const at::Tensor& tensor) { return bytes_of_rows(tensor, 1).view({-1}); }

/// Makes the connections of one backend; the key is unique among the ranks that call with it.
using Connect = std::function<Backend(const std::string& key, int rank, int size)>;

/// The connections among some ranks. Groups of the same ranks share one.
struct Wire {
  std::vector<int> ranks;
  Backend backend;
  /// For messages to higher and to lower ranks. NCCL runs the messages between two ranks one after the other, sends and
  /// receives alike, so each direction has communicators of its own; Gloo's do not wait for each other.
  Backend up, down;
  std::map<int, int> sent, received; ///< by peer: the tag of the next message
  [[nodiscard]] c10d::Backend& towards(int from, int to) const { return *(from < to ? up : down); }
};

/// Operations that were given to a GPU and may not have ended: waiting for them holds up no thread, so nobody else notices
/// that one never ends.
class OnDevice {
 public:
  void add(OperationBoard::Wait operation, Pending pending) {
    const std::scoped_lock lock(mutex_);
    drop_ended();
    operations_.emplace_back(std::move(operation), std::move(pending));
  }
  std::optional<OperationBoard::Wait> oldest() {
    const std::scoped_lock lock(mutex_);
    drop_ended();
    return operations_.empty() ? std::nullopt : std::optional(operations_.front().first);
  }
  void clear() {
    const std::scoped_lock lock(mutex_);
    operations_.clear();
  }

 private:
  void drop_ended() {
    while (!operations_.empty() && operations_.front().second->isCompleted()) operations_.pop_front();
  }
  std::mutex mutex_;
  std::deque<std::pair<OperationBoard::Wait, Pending>> operations_;
};

/// What all groups of this process share.
struct Common {
  std::shared_ptr<OperationBoard> board;
  std::atomic<bool> lost = false;      ///< a collective failed
  std::shared_ptr<OnDevice> on_device; ///< null: no GPU
};

std::string reason(const std::exception& problem) {
  const auto* error = dynamic_cast<const c10::Error*>(&problem);
  const std::string text = error != nullptr ? error->what_without_backtrace() : problem.what();
  return text.substr(0, text.find('\n'));
}

class NetworkGroup final : public Group {
 public:
  NetworkGroup(std::string name, int rank, std::shared_ptr<Wire> wire, std::shared_ptr<Common> common)
      : Group(std::move(name), rank, static_cast<int>(wire->ranks.size())),
        wire_(std::move(wire)),
        common_(std::move(common)),
        collectives_(common_->board->add_sequence(this->name(), wire_->ranks)) {}

 protected:
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op) override {
    at::Tensor flat = tensor.detach().view({-1});
    if (flat.scalar_type() == at::kBool) {
      flat = flat.view(at::kByte);
      if (op == ReduceOp::sum) op = ReduceOp::max;
    }
    static constexpr std::array summable = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                            at::kByte,  at::kChar,   at::kInt,      at::kLong};
    if (std::find(summable.begin(), summable.end(), flat.scalar_type()) == summable.end())
      throw std::invalid_argument(std::string("all_reduce over ") + name() + ": no sums of " +
                                  c10::toString(flat.scalar_type()));
    return start("all_reduce", collectives_, [&] {
      c10d::AllreduceOptions options;
      options.reduceOp = reduce_op(op);
      std::vector<at::Tensor> tensors{flat};
      return wire_->backend->allreduce(tensors, options);
    });
  }

  Work do_all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return start("all_gather", collectives_, [&] {
      at::Tensor to = bytes_of(output), from = bytes_of(input);
      return wire_->backend->_allgather_base(to, from);
    });
  }

  /// Gloo's own sums the whole input on every rank: twice the traffic.
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input) override {
    if (output.is_cuda())
      return start("reduce_scatter", collectives_, [&] {
        at::Tensor to = output.detach(), from = input.detach();
        return wire_->backend->_reduce_scatter_base(to, from);
      });
    at::Tensor parts = at::empty_like(input.detach()).view({size(), -1});
    return start(
        "reduce_scatter", collectives_,
        [&] {
          at::Tensor to = bytes_of_rows(parts, size()), from = bytes_of_rows(input, size());
          std::vector<std::int64_t> even;
          return wire_->backend->alltoall_base(to, from, even, even);
        },
        [output = output.detach(), parts, size = size()] {
          const at::Tensor sum = output.view({-1});
          sum.copy_(parts[0]);
          for (int rank = 1; rank < size; ++rank)
            sum.scalar_type() == at::kBool ? sum.logical_or_(parts[rank]) : sum.add_(parts[rank]);
        });
  }

  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, std::span<const std::int64_t> output_rows,
                     std::span<const std::int64_t> input_rows) override {
    const std::int64_t row = c10::multiply_integers(input.sizes().slice(1)) * input.element_size();
    if (row == 0) return {}; // on every rank
    return start("all_to_all", collectives_, [&] {
      at::Tensor to = output.detach().view({-1}).view(at::kByte).view({output.size(0), row});
      at::Tensor from = input.detach().view({-1}).view(at::kByte).view({input.size(0), row});
      std::vector<std::int64_t> to_rows(output_rows.begin(), output_rows.end());
      std::vector<std::int64_t> from_rows(input_rows.begin(), input_rows.end());
      return wire_->backend->alltoall_base(to, from, to_rows, from_rows);
    });
  }

  Work do_broadcast(const at::Tensor& tensor, int root) override {
    return start("broadcast", collectives_, [&] {
      c10d::BroadcastOptions options;
      options.rootRank = root;
      std::vector<at::Tensor> tensors{bytes_of(tensor)};
      return wire_->backend->broadcast(tensors, options);
    });
  }

  Work do_send(const at::Tensor& tensor, int peer) override {
    return start("send", sends_to(rank(), peer), [&] {
      std::vector<at::Tensor> tensors{bytes_of(tensor)};
      return wire_->towards(rank(), peer).send(tensors, peer, next_tag(wire_->sent[peer]));
    });
  }

  Work do_receive(const at::Tensor& tensor, int peer) override {
    return start("receive", sends_to(peer, rank()), [&] {
      std::vector<at::Tensor> tensors{bytes_of(tensor)};
      return wire_->towards(peer, rank()).recv(tensors, peer, next_tag(wire_->received[peer]));
    });
  }

 private:
  /// Both ends count alike; a tag is an int of at least 0.
  static int next_tag(int& tag) {
    const int now = tag;
    tag = (tag + 1) & 0x3fffffff;
    return now;
  }

  std::size_t sends_to(int from, int to) {
    const auto found = sends_.find({from, to});
    if (found != sends_.end()) return found->second;
    const int here = wire_->ranks[static_cast<std::size_t>(from)], there = wire_->ranks[static_cast<std::size_t>(to)];
    const std::string title = name() + " " + std::to_string(here) + ">" + std::to_string(there);
    return sends_[{from, to}] = common_->board->add_sequence(title, {here, there});
  }

  [[nodiscard]] PeerLost lost(const char* operation, std::uint64_t number, const std::exception& problem) const {
    common_->lost = true;
    return PeerLost(std::string(operation) + " number " + std::to_string(number) + " over " + name() + " (" +
                    rank_list(wire_->ranks) + ") failed: " + reason(problem));
  }

  template <class Launch>
  Work start(const char* operation, std::size_t sequence, const Launch& launch, std::function<void()> finish = {}) {
    const std::uint64_t number = common_->board->issue(sequence, operation);
    Pending pending;
    try {
      pending = launch();
    } catch (const std::exception& problem) {
      throw lost(operation, number, problem);
    }
    if (common_->on_device)
      common_->on_device->add({sequence, operation, number, OperationBoard::Clock::now()}, pending);
    const auto begin = OperationBoard::Clock::now();
    const auto& hook = common_->board->span_hook();
    const bool message = std::string_view(operation) == "send" || std::string_view(operation) == "receive";
    if (hook && !message && !common_->on_device)
      pending->getFuture()->addCallback([hook, operation, name = common_->board->name_of(sequence), begin](auto&) {
        hook(name, operation, begin, OperationBoard::Clock::now());
      });
    return Work([this, operation, sequence, number, pending, begin, finish = std::move(finish)] {
      {
        const OperationBoard::Waiting waiting(*common_->board, sequence, operation, number);
        try {
          pending->wait();
        } catch (const std::exception& problem) {
          throw lost(operation, number, problem);
        }
      }
      // Gloo tells of the end of a message to who waits for it alone; who sends waits at the end of the step.
      if (const auto& traced = common_->board->span_hook(); traced && std::string_view(operation) == "receive")
        traced(common_->board->name_of(sequence), operation, begin, OperationBoard::Clock::now());
      const at::NoGradGuard no_grad;
      if (finish) finish();
    });
  }

  std::shared_ptr<Wire> wire_;
  std::shared_ptr<Common> common_;
  std::size_t collectives_;
  std::map<std::pair<int, int>, std::size_t> sends_; ///< by ranks of the group
};

using GlooDevice = std::shared_ptr<::gloo::transport::Device>;

/// The interface that Gloo's connections use: the one that GLOO_SOCKET_IFNAME names, else the one that leads to the others.
Result<c10::intrusive_ptr<c10d::ProcessGroupGloo::Options>> gloo_options(Rendezvous& rendezvous,
                                                                         std::chrono::milliseconds timeout) {
  if (std::getenv("GLOO_SOCKET_IFNAME") != nullptr) return c10d::ProcessGroupGloo::Options::create_default(timeout);
  std::string own = local_address_towards(rendezvous.store_host());
  CONCLAVE_ASSIGN(const std::vector<std::string> all, rendezvous.exchange("interface", own));
  // Rank 0 may reach its own store by a loopback address that means nothing to the others.
  if (is_loopback(own)) {
    const auto away = std::find_if(all.begin(), all.end(), [](const std::string& one) { return !is_loopback(one); });
    if (away != all.end()) own = local_address_towards(*away);
  }
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  options->devices.push_back(own.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                                         : c10d::ProcessGroupGloo::createDeviceForHostname(own));
  return options;
}

/// Where ranks share a GPU, NCCL refuses to connect them unless it takes them for ranks of different machines. The results
/// are right and the times say nothing.
bool let_ranks_share_gpus(const RankInfo& ranks) {
  if (ranks.local_world_size <= at::detail::getCUDAHooks().deviceCount()) return false;
  setenv("NCCL_HOSTID", ("conclave-rank-" + std::to_string(ranks.rank)).c_str(), 0);
  setenv("NCCL_IB_DISABLE", "1", 0);
  if (ranks.local_world_size == ranks.world_size) setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  return true;
}

Result<MakeNcclBackend> open_nccl() {
  void* library = dlopen(nccl_library, RTLD_NOW | RTLD_LOCAL);
  const char* why = library == nullptr ? dlerror() : nullptr;
  const auto* make =
      library != nullptr ? static_cast<const MakeNcclBackend*>(dlsym(library, nccl_backend_symbol)) : nullptr;
  if (make != nullptr) return *make;
  return unsupported(
      std::string("ranks with GPUs talk through NCCL, and ") + nccl_library +
          " cannot be opened: " + (why != nullptr ? why : "it is of another build"),
      "build on a machine with the CUDA toolkit's headers (tools/bootstrap --cuda), or use --device cpu");
}

class NetworkGroups final : public Groups {
 public:
  NetworkGroups(std::unique_ptr<Exchange> exchange, const Mesh& mesh, int rank, bool direction_apart, Connect connect,
                std::shared_ptr<OperationBoard> board)
      : exchange_(std::move(exchange)),
        mesh_(mesh),
        rank_(rank),
        direction_apart_(direction_apart),
        connect_(std::move(connect)),
        common_(std::make_shared<Common>()) {
    common_->board = board ? std::move(board) : std::make_shared<OperationBoard>();
    if (!direction_apart_) return;
    common_->on_device = std::make_shared<OnDevice>();
    common_->board->set_device_probe([on_device = common_->on_device] { return on_device->oldest(); });
  }

  ~NetworkGroups() override {
    common_->board->set_device_probe({});
    if (!common_->lost) {
      if (common_->on_device) common_->on_device->clear();
      for (auto& [ranks, wire] : wires_)
        for (Backend* backend : {&wire->backend, &wire->up, &wire->down})
          if (*backend) (*backend)->shutdown();
      return;
    }
    // Their destructors wait for threads that wait for the peer.
    for (auto& [ranks, wire] : wires_)
      for (Backend* backend : {&wire->backend, &wire->up, &wire->down}) static_cast<void>(backend->release());
  }

  Group& over(std::span<const MeshDim> dims) override {
    const auto named = [dims](MeshDim dim) { return std::find(dims.begin(), dims.end(), dim) != dims.end(); };
    const bool experts = named(MeshDim::expert_data) || named(MeshDim::expert);
    if (experts && (named(MeshDim::data) || named(MeshDim::context) || named(MeshDim::tensor)))
      throw std::invalid_argument("a group is over dense dimensions or over the experts', not over both");
    std::string name;
    for (std::size_t i = 0; i < mesh_dim_count; ++i)
      if (const auto dim = static_cast<MeshDim>(i); named(dim))
        name += (name.empty() ? "" : "+") + std::string(to_string(dim));
    return group(name, [&] { return ranks_over(mesh_, dims); });
  }

  Group& world() override {
    return group("world", [&] {
      const std::array all = {MeshDim::pipeline, MeshDim::data, MeshDim::tensor};
      return ranks_over(mesh_, all);
    });
  }

  /// Sends a byte between neighbours of the pipeline, the last and the first among them, both ways. NCCL makes the
  /// communicator of two ranks when they first meet, and may wait there for everything that the GPU still does: in a step,
  /// for a message that the other rank would only take after this meeting.
  void meet_neighbours(const at::TensorOptions& options) {
    const std::array pipeline = {MeshDim::pipeline};
    Group& ranks = over(pipeline);
    if (ranks.size() < 2) return;
    struct Silent final : c10::WarningHandler {
      void process(const c10::Warning&) override {} // torch warns of just this
    } silent;
    const c10::WarningUtils::WarningHandlerGuard guard(&silent);
    const at::Tensor byte = at::zeros({1}, options.dtype(at::kByte));
    for (int first = 0; first < ranks.size() - (ranks.size() == 2 ? 1 : 0); ++first) {
      const int second = (first + 1) % ranks.size();
      if (ranks.rank() != first && ranks.rank() != second) continue;
      const int peer = ranks.rank() == first ? second : first;
      if (ranks.rank() == first) {
        ranks.send(byte, peer).wait();
        ranks.receive(byte, peer).wait();
      } else {
        ranks.receive(byte, peer).wait();
        ranks.send(byte, peer).wait();
      }
      byte.cpu(); // until it is done
    }
  }

  [[nodiscard]] std::vector<const Group*> all() const override {
    std::vector<const Group*> made;
    for (const auto& [name, group] : groups_) made.push_back(group.get());
    return made;
  }

 private:
  template <class Ranks>
  Group& group(const std::string& name, const Ranks& ranks) {
    std::unique_ptr<NetworkGroup>& found = groups_[name];
    if (!found) {
      std::vector<int> members = ranks();
      const int place = static_cast<int>(std::find(members.begin(), members.end(), rank_) - members.begin());
      found = std::make_unique<NetworkGroup>(name, place, wire(std::move(members), place, name), common_);
    }
    return *found;
  }

  std::shared_ptr<Wire> wire(std::vector<int> ranks, int place, const std::string& name) {
    std::shared_ptr<Wire>& found = wires_[ranks];
    if (found) return found;
    auto made = std::make_shared<Wire>();
    made->ranks = ranks;
    if (ranks.size() > 1) {
      made->backend = made->up = made->down = connect(ranks, place, name, "");
      if (direction_apart_ && ranks.size() > 1) {
        made->up = connect(ranks, place, name, "up ");
        made->down = connect(ranks, place, name, "down ");
      }
    }
    return found = std::move(made);
  }

  Backend connect(const std::vector<int>& ranks, int place, const std::string& name, const std::string& use) {
    const std::string title = "connections of " + name;
    const std::size_t sequence = common_->board->add_sequence(title, ranks);
    const std::uint64_t number = common_->board->issue(sequence, "connect");
    const OperationBoard::Waiting waiting(*common_->board, sequence, "connect", number);
    // Ranks of one set connect under the same name, whatever the group is called that they do it for.
    std::string key = use;
    for (const int rank : ranks) key += std::to_string(rank) + ",";
    try {
      return connect_(key, place, static_cast<int>(ranks.size()));
    } catch (const std::exception& problem) {
      common_->lost = true;
      throw PeerLost("the " + title + " (" + rank_list(ranks) + ") failed: " + reason(problem));
    }
  }

  std::unique_ptr<Exchange> exchange_; ///< Gloo's connection to the store
  Mesh mesh_;
  int rank_;
  bool direction_apart_;
  Connect connect_;
  std::shared_ptr<Common> common_;
  std::map<std::vector<int>, std::shared_ptr<Wire>> wires_;
  std::map<std::string, std::unique_ptr<NetworkGroup>> groups_;
};

} // namespace

Result<std::shared_ptr<Groups>> make_groups(Rendezvous& rendezvous, const Mesh& mesh, const RankInfo& ranks,
                                            const Device& device, std::chrono::milliseconds timeout,
                                            std::shared_ptr<OperationBoard> board) {
  if (ranks.world_size == 1) return single_rank_groups();
  const bool gpus = device.kind == Device::Kind::cuda;
  try {
    CONCLAVE_ASSIGN(auto exchange, rendezvous.connect("groups", timeout));
    const auto under = [impl = &exchange->store().impl()](const std::string& key) {
      return c10::make_intrusive<c10d::PrefixStore>(impl->prefix + key, impl->store);
    };
    Connect connect;
    if (gpus) {
      let_ranks_share_gpus(ranks);
      CONCLAVE_ASSIGN(const MakeNcclBackend make, open_nccl());
      connect = [=](const std::string& key, int rank, int size) { return make(under(key), rank, size, timeout); };
    } else {
      CONCLAVE_ASSIGN(auto options, gloo_options(rendezvous, timeout));
      connect = [under, options](const std::string& key, int rank, int size) -> Backend {
        return c10::make_intrusive<c10d::ProcessGroupGloo>(under(key), rank, size, options);
      };
    }
    auto groups = std::make_shared<NetworkGroups>(std::move(exchange), mesh, ranks.rank, gpus, std::move(connect),
                                                  std::move(board));
    groups->world();
    if (gpus)
      groups->meet_neighbours(
          at::TensorOptions().device(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index))));
    return std::shared_ptr<Groups>(std::move(groups));
  } catch (const PeerLost& lost) {
    return Error{Code::peer_lost, "", lost.what(), ""};
  } catch (const std::exception& problem) {
    return unsupported("no connections between the ranks: " + reason(problem),
                       std::string("set ") + (gpus ? "NCCL" : "GLOO") +
                           "_SOCKET_IFNAME to the interface that leads to the other machines");
  }
}

} // namespace conclave
