// ParameterStorage: where a rank's parameters, gradients and optimizer states live.
//
// A flat group is a run of parameters, in the order of the stages' descriptions, that have one optimizer rule, one
// reduction and one type: values and main gradients are one contiguous tensor each. It is also the unit of communication
// (a bucket): its gradients are reduced together, and over the ranks that sum them each holds the masters and optimizer
// states of its own equal part (ZeRO stage 1, Rajbhandari et al. 2020).
//
//   value     [size]  compute type (master type for full_precision): what the stage computes with
//   gradient  [size]  master type
//   master    [held]  master type; the same memory as that range of `value` where the types agree
//   states    [held]  master type
//
// Parameters start on multiples of `alignment` elements; what lies between them stays 0.
//
// What this is: layout, allocation and initial values. What this is not: knowledge of any optimizer or of a step.
//
// Threading: one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"

namespace conclave::train {

/// Elements; 256 bytes in fp32, 128 in bf16: enough for vector loads, TMA and grouped GEMM operands.
inline constexpr std::int64_t alignment = 64;

/// Elements [begin, end) of something flat.
struct FlatRange {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] std::int64_t size() const noexcept { return end - begin; }
};
/// What two ranges share; empty (begin == end) when nothing.
FlatRange common(FlatRange a, FlatRange b) noexcept;

struct StorageSettings {
  at::Device device = at::kCPU;
  at::ScalarType master = at::kFloat;
  at::ScalarType compute = at::kFloat;
  std::uint64_t seed = 0;
  Mesh mesh = {};
  std::shared_ptr<Groups> groups = {}; ///< null: one rank
  bool shard_optimizer = true;         ///< false: every rank holds all masters and states
  /// Elements of a group that is reduced over ranks; a larger parameter has a group of its own. Groups that are not reduced
  /// are as large as they can be.
  std::int64_t bucket = std::int64_t{1} << 24;
  /// Parameters of this rank whose other copy lies on another pipeline rank, and which rank of the pipeline that is.
  std::map<std::string, int> tied = {};
};

struct FlatGroup {
  int chunk = 0; ///< of this rank's chunks
  DecayClass decay = DecayClass::decay;
  std::vector<MeshDim> grad_sum_over; ///< ascending, each once
  bool full_precision = false;
  int tied_peer = -1;     ///< pipeline rank whose group of the same layout shares the gradients; -1: none
  Group* ranks = nullptr; ///< over grad_sum_over; null where that is this rank alone
  FlatRange held;         ///< what masters and states cover
  FlatRange owned;        ///< this rank's equal part, whether or not it holds more
  at::Tensor value, gradient, master;
  std::vector<at::Tensor> states;
};

/// One parameter: views into its group, in its local shape.
struct ParameterSlot {
  const ParamSpec* spec = nullptr;
  std::size_t group = 0;
  FlatRange range; ///< in the group
  /// This rank's copy is the one that counts in the norm and in checkpoints, as far as its group's owned range goes.
  bool counted = true;
  at::Tensor value;               ///< what the stage computes with: an autograd leaf over the group's value
  at::Tensor master;              ///< undefined where this rank does not hold all of it
  std::vector<at::Tensor> states; ///< likewise empty
  GradSink sink;                  ///< holds the gradient's view
};

class ParameterStorage {
 public:
  /// Lays out, allocates and fills every parameter of this rank's chunks from its InitSpec. `chunks` must outlive the
  /// storage. A parameter tied with one of an earlier chunk of this rank shares its slot. A description that contradicts
  /// itself is Code::internal, with the parameter's name. Collective when there are groups.
  static Result<std::unique_ptr<ParameterStorage>> make(std::span<const StageDescription> chunks,
                                                        const StorageSettings& settings);

  /// Adds one zeroed tensor per group for each name. Called once.
  void allocate_states(const std::vector<std::string>& names);

  /// After masters changed: every rank's values. Starts with this rank's part, which is rounded from the masters unless
  /// `rounded` says that it has been, and gathers the others'. No host sync. Collective.
  void publish_masters(bool rounded = false);

  [[nodiscard]] std::deque<ParameterSlot>& slots() noexcept { return slots_; } ///< order of the descriptions
  [[nodiscard]] const std::deque<ParameterSlot>& slots() const noexcept { return slots_; }
  /// Of one chunk, in the order of its description; a tied parameter's slot may belong to an earlier chunk.
  [[nodiscard]] const std::vector<ParameterSlot*>& chunk(std::size_t i) const { return chunks_[i]; }
  /// By chunk, then by what they have in common; the same order on every rank that describes the same parameters.
  [[nodiscard]] std::deque<FlatGroup>& groups() noexcept { return groups_; }
  [[nodiscard]] const std::deque<FlatGroup>& groups() const noexcept { return groups_; }
  [[nodiscard]] const ParameterSlot* find(const std::string& name) const;
  [[nodiscard]] const std::vector<std::string>& state_names() const noexcept { return state_names_; }

  /// Held ranges for an elementwise optimizer, whole parameters for the others (which needs shard_optimizer = false).
  [[nodiscard]] std::vector<Segment> segments(bool elementwise) const;

 private:
  ParameterStorage() = default;
  Status place(std::span<const StageDescription> chunks, const StorageSettings& settings);
  void allocate(const StorageSettings& settings);
  Status fill(const StorageSettings& settings);

  std::deque<FlatGroup> groups_; // deques: addresses stay, sinks and groups are handed out
  std::deque<ParameterSlot> slots_;
  std::vector<std::vector<ParameterSlot*>> chunks_;
  std::unordered_map<std::string, ParameterSlot*> index_;
  std::vector<std::string> state_names_;
};

} // namespace conclave::train
