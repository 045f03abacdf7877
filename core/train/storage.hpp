// ParameterStorage: where a rank's parameters, gradients and optimizer states live.
//
// Masters, main gradients and each optimizer state are one flat contiguous tensor per group: the parameters of one decay
// class whose gradients are summed over the same mesh dimensions (dense ones over `data`, experts over `expert_data`), so
// that a range of a group has one optimizer rule and one reduction. Within a group they keep the order of the stage's
// description, each starting on a multiple of `alignment` elements. When the compute type differs, the parameters that want
// it come first, so that refreshing their copies is one conversion per group.
//
// What this is: layout, allocation and initial values. What this is not: knowledge of any optimizer or of a step; ranges of
// these flat tensors are what sharding over ranks will address.
//
// Threading: one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"

namespace conclave::train {

/// Elements; 256 bytes in fp32, 128 in bf16: enough for vector loads, TMA and grouped GEMM operands.
inline constexpr std::int64_t alignment = 64;

struct StorageSettings {
  at::Device device = at::kCPU;
  at::ScalarType master = at::kFloat;
  at::ScalarType compute = at::kFloat;
  std::uint64_t seed = 0;
};

/// The flat tensors of one group, all of the same length; the gaps between parameters stay 0.
struct FlatGroup {
  DecayClass decay = DecayClass::decay;
  std::vector<MeshDim> grad_sum_over; ///< ascending, each once
  at::Tensor master;
  at::Tensor gradient;
  at::Tensor compute; ///< copy of the first `compute.numel()` masters; undefined when compute and master types agree
  std::vector<at::Tensor> states;
};

/// One parameter: views into its group, in its local shape.
struct ParameterSlot {
  const ParamSpec* spec = nullptr;
  std::size_t group = 0;
  std::int64_t offset = 0; ///< in the group, elements
  at::Tensor master;
  at::Tensor value; ///< what the stage computes with: an autograd leaf over the copy, or over the master itself
  std::vector<at::Tensor> states;
  GradSink sink; ///< holds the gradient's view
};

class ParameterStorage {
 public:
  /// Lays out, allocates and fills every parameter from its InitSpec. `description` must outlive the storage. A description
  /// that contradicts itself is Code::internal, with the parameter's name.
  static Result<std::unique_ptr<ParameterStorage>> make(const StageDescription& description,
                                                        const StorageSettings& settings);

  /// Adds one zeroed tensor per parameter for each name. Called once.
  void allocate_states(const std::vector<std::string>& names);

  /// After masters changed: refreshes the compute copies. No host sync.
  void refresh_compute();

  [[nodiscard]] std::deque<ParameterSlot>& slots() noexcept { return slots_; } ///< order of the description
  [[nodiscard]] const std::deque<ParameterSlot>& slots() const noexcept { return slots_; }
  /// Those that decay first; the same order on every rank that describes the same parameters.
  [[nodiscard]] const std::vector<FlatGroup>& groups() const noexcept { return groups_; }
  [[nodiscard]] const ParameterSlot* find(const std::string& name) const;
  [[nodiscard]] const std::vector<std::string>& state_names() const noexcept { return state_names_; }
  /// Slots sorted by name: the order in which per-parameter norms are summed, whatever the layout.
  [[nodiscard]] const std::vector<const ParameterSlot*>& by_name() const noexcept { return by_name_; }

  /// Flat ranges for an elementwise optimizer, whole parameters for the others.
  [[nodiscard]] std::vector<Segment> segments(bool elementwise) const;

 private:
  ParameterStorage() = default;
  std::vector<FlatGroup> groups_;
  std::deque<ParameterSlot> slots_; // a deque: addresses stay, sinks are handed out
  std::unordered_map<std::string, const ParameterSlot*> index_;
  std::vector<const ParameterSlot*> by_name_;
  std::vector<std::string> state_names_;
};

/// State and counter buffers of a stage. Counters of one type share a flat tensor: one launch zeroes or reads them all.
class BufferStorage {
 public:
  BufferStorage(const StageDescription& description, at::Device device);
  void zero_counters();
  [[nodiscard]] const std::vector<at::Tensor>& tensors() const noexcept {
    return tensors_;
  } ///< order of the description
  /// Every counter that has a report_as, in the order of the description, as one fp64 vector; undefined when there is none.
  [[nodiscard]] at::Tensor reported() const;
  [[nodiscard]] const std::vector<const BufferSpec*>& reported_specs() const noexcept { return reported_specs_; }

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<at::Tensor> counters_; // flat, one a type
  std::vector<at::Tensor> reported_; // views
  std::vector<const BufferSpec*> reported_specs_;
};

/// The part of a local tensor that a piece names, as a view of the local box's shape.
at::Tensor local_box(const at::Tensor& local, const ParamPiece& piece);

} // namespace conclave::train
