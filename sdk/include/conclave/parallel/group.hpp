// Group: the ranks along some dimensions of the mesh, and the collectives among them.
//
// What this is: the only way in which code of a step talks to other ranks. The host makes groups (NCCL between GPUs, Gloo
// between CPUs, nothing at all for a single rank) and counts what they send. What this is not: differentiable; for that see
// parallel/collectives.hpp.
//
// Tensors are contiguous, on the run's device, and as large on every rank as each call says. A call whose tensors do not fit
// throws std::invalid_argument; a collective that fails because another rank is gone throws PeerLost.
//
// Threading: every call is collective: all ranks of a group make the same calls in the same order. The step thread and the
// autograd thread that works for it may call, one at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "conclave/mesh.hpp"

namespace conclave {

enum class ReduceOp { sum, max, min };

enum class Collective { all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, send };
inline constexpr std::size_t collective_count = 6;
const char* to_string(Collective kind) noexcept;

/// A collective under way. Its tensors must not be touched before wait().
class Work {
 public:
  Work() = default; ///< nothing is under way
  explicit Work(std::function<void()> wait) : wait_(std::move(wait)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&&) noexcept = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  /// Afterwards the result can be used: on a GPU by what the current stream is given from now on, without a wait of the
  /// host; on the CPU by anyone. Once; a second call does nothing. Throws PeerLost.
  void wait() {
    if (const auto wait = std::exchange(wait_, nullptr)) wait();
  }

 private:
  std::function<void()> wait_;
};

/// What one rank has sent, as a bandwidth-optimal algorithm sends it. For n ranks and a tensor of b bytes:
/// all_reduce 2 (n-1)/n b; all_gather and reduce_scatter (n-1)/n of the larger tensor; all_to_all what goes to others;
/// broadcast (n-1)/n b; send b.
struct Traffic {
  std::array<std::int64_t, collective_count> calls{};
  std::array<double, collective_count> bytes{};
  Traffic& operator+=(const Traffic& other) noexcept;
  Traffic& operator-=(const Traffic& other) noexcept;
};

class Group {
 public:
  virtual ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] int rank() const noexcept { return rank_; }                  ///< of this process, in the group
  [[nodiscard]] const std::string& name() const noexcept { return name_; }   ///< its dimensions: "data", "data+tensor"
  [[nodiscard]] const Traffic& traffic() const noexcept { return traffic_; } ///< since the group was made

  // A group of one rank returns at once: the input is the output (copied where they are two tensors).

  /// In place, any shape.
  Work all_reduce(const at::Tensor& tensor, ReduceOp op = ReduceOp::sum);
  /// input [n, ...] -> output [size * n, ...]: the ranks' inputs in order. `input` may be this rank's part of `output`.
  Work all_gather(const at::Tensor& output, const at::Tensor& input);
  /// input [size * n, ...] -> output [n, ...]: this rank's part of the sum. `output` may be that part of `input`, whose
  /// other parts then hold anything.
  Work reduce_scatter(const at::Tensor& output, const at::Tensor& input);
  /// Rows of input to the ranks in order, input_rows[r] to rank r; output_rows[r] come from rank r. The two tensors have one
  /// row shape.
  Work all_to_all(const at::Tensor& output, const at::Tensor& input, std::span<const std::int64_t> output_rows,
                  std::span<const std::int64_t> input_rows);
  /// In place, from `root` (a rank of the group) to all.
  Work broadcast(const at::Tensor& tensor, int root);
  /// To and from a rank of the group. Calls between two ranks meet in order; the two directions do not wait for each other.
  Work send(const at::Tensor& tensor, int peer);
  Work receive(const at::Tensor& tensor, int peer);

 protected:
  Group(std::string name, int rank, int size) : name_(std::move(name)), rank_(rank), size_(size) {}
  // As above, for size() > 1 and tensors that fit.
  virtual Work do_all_reduce(const at::Tensor& tensor, ReduceOp op) = 0;
  virtual Work do_all_gather(const at::Tensor& output, const at::Tensor& input) = 0;
  virtual Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input) = 0;
  virtual Work do_all_to_all(const at::Tensor& output, const at::Tensor& input,
                             std::span<const std::int64_t> output_rows, std::span<const std::int64_t> input_rows) = 0;
  virtual Work do_broadcast(const at::Tensor& tensor, int root) = 0;
  virtual Work do_send(const at::Tensor& tensor, int peer) = 0;
  virtual Work do_receive(const at::Tensor& tensor, int peer) = 0;

 private:
  void count(Collective kind, double bytes);
  std::string name_;
  int rank_ = 0, size_ = 1;
  Traffic traffic_;
};

/// All groups of this rank.
class Groups {
 public:
  virtual ~Groups();
  /// The ranks that differ from this one in these dimensions only, in the order of their numbers in the run. Either dense
  /// dimensions (data, context, tensor) or the experts' (expert_data, expert) may be named, with pipeline or without; naming
  /// both throws std::invalid_argument. The first call for a set is collective; the group lives as long as this object.
  [[nodiscard]] virtual Group& over(std::span<const MeshDim> dims) = 0;
  [[nodiscard]] Group& over(std::initializer_list<MeshDim> dims) {
    return over(std::span<const MeshDim>(dims.begin(), dims.size()));
  }
  /// Every rank of the run, in the order of their numbers; "world".
  [[nodiscard]] virtual Group& world() = 0;
  /// Every group made so far.
  [[nodiscard]] virtual std::vector<const Group*> all() const = 0;
};

/// Groups of a run of one rank.
std::shared_ptr<Groups> single_rank_groups();

} // namespace conclave
