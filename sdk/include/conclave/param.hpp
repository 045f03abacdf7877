// ParamSpec, GradSink and StepGate: what the host must know about a parameter, where its gradient goes, and whether
// the step's update applies.
//
// A model describes its parameters before anything is allocated; the host allocates flat storage, fills it, and binds it
// to the stage. Everything that touches parameters (reduction, norm, optimizer sharding, checkpoint, export) reads only
// the ParamSpec. Names are global and Hugging Face style, so a checkpoint does not depend on the layout that wrote it.
//
// Shapes are row-major. "local" is this rank's tensor; "global" is the whole, unpadded parameter.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "conclave/mesh.hpp"

namespace conclave {

/// A rectangular range of a tensor: offset and size for each axis.
struct Box {
  std::vector<std::int64_t> offset, size;
};

/// One named global parameter, or a part of it, inside a local tensor. A fused gate+up weight of E experts has 2 E
/// pieces; a padded vocabulary has a piece smaller than its tensor (the rest is padding: never saved, always zero).
struct ParamPiece {
  std::string name;                       ///< global, e.g. `model.layers.3.mlp.experts.7.gate_proj.weight`
  std::vector<std::int64_t> global_shape; ///< of the named parameter
  Box global;                             ///< which part of the named parameter
  Box local;                              ///< where it lies in the local tensor; same number of elements, same order
};

/// `axis` of the local tensor is split over that mesh dimension.
struct ParamPlacement {
  MeshDim dim;
  int axis;
};

enum class InitKind { zeros, constant, normal };
/// The value of the element with row-major index i of the *global* parameter `name`:
///   zeros: 0;  constant: scale;  normal: scale * RandomStream(seed, name).normal(i)
/// computed in fp64 and rounded once to the master's type.
struct InitSpec {
  InitKind kind = InitKind::normal;
  double scale = 0.02;
};

enum class DecayClass { decay, no_decay };

struct ParamSpec {
  std::string name;                       ///< unique within the stage; the piece's name when there is one piece
  std::vector<std::int64_t> shape;        ///< local
  std::vector<ParamPiece> pieces;         ///< disjoint; at least one
  std::vector<ParamPlacement> placements; ///< empty on one rank
  std::vector<MeshDim> replicated_over;   ///< dimensions over which equal copies exist
  /// Of replicated_over, those over which each copy's gradient is a partial sum; over the others it is equal already. The
  /// host shards optimizer state over them.
  std::vector<MeshDim> grad_sum_over;
  /// Name of the parameter of another chunk whose values and summed gradient it shares; else "". Both have one shape, one
  /// decay class, equal pieces and initial values, and the same placements and reductions.
  std::string tied_with;
  bool norm_owner = true; ///< counted in the global gradient norm; false for a tied copy
  DecayClass decay = DecayClass::decay;
  InitSpec init;
  /// How often one backward pass calls GradSink::ready(): once for each operator call that takes the BoundParam, and once
  /// for all uses of its value in plain autograd together. An embedding tied through two operators has 2, one tied in plain
  /// autograd 1. A part under ops::recompute() runs a backward pass of its own, so its plain uses count once more. More
  /// calls than this are an error of the model; fewer (a parameter that a pass leaves out) only make on_complete later.
  int contributions = 1;
  bool full_precision = false; ///< the stage wants it in the master's type even when compute is bf16 or fp16
};

enum class BufferUse {
  state, ///< kept in checkpoints, equal on every rank of a pipeline stage (router bias)
  /// Integers: zeroed before each step, summed over micro-batches and data ranks, then update_buffers() reads it. Equal on
  /// every tensor rank.
  counter,
};

/// A tensor of a stage that is no parameter.
struct BufferSpec {
  std::string name; ///< global, e.g. `model.layers.3.mlp.gate.bias`
  std::vector<std::int64_t> shape;
  at::ScalarType dtype = at::kFloat;
  BufferUse use = BufferUse::state;
  /// Non-empty: the host reports each element as a metric of that name with labels layer and expert (element index).
  std::string report_as;
  int layer = -1;
};

/// Where one parameter's gradient goes. Every contribution is added here exactly once, either by an operator that writes
/// it (a fused op that knows the sink returns no gradient to autograd) or by the host's adapter for ordinary autograd.
/// Communication overlap, sharding and split backward passes count on ready().
///
/// The host calls begin_step() before a step's first backward pass, begin_last_micro_batch() before its last one and
/// finish() after that; whoever writes a contribution asks overwrite() and calls ready().
///
/// Threading: the autograd thread of the stage, one contribution at a time; the host's calls on the step thread.
class GradSink {
 public:
  /// Main gradient: fp32 (fp64 in an fp64 run), the parameter's local shape, contiguous.
  at::Tensor gradient;
  /// Contributions that one backward pass makes: ParamSpec::contributions.
  int expected = 1;
  /// Called exactly once in a step that does not fail: with the last expected contribution of the last micro-batch, or in
  /// finish() when fewer came. `gradient` is then enqueued whole: what all micro-batches gave, 0 if nothing did. May be
  /// empty.
  std::function<void()> on_complete;

  /// True: the next contribution must overwrite `gradient` (its content is stale); false: it must add to it.
  [[nodiscard]] bool overwrite() const noexcept { return overwrite_; }
  /// After each contribution has been written.
  void ready();

  void begin_step() noexcept;
  void begin_last_micro_batch() noexcept;
  /// Zeroes a gradient that nothing contributed to, then calls on_complete unless ready() has.
  void finish();
  /// Contributions since begin_step().
  [[nodiscard]] int received() const noexcept { return received_; }
  /// Contributions since begin_last_micro_batch().
  [[nodiscard]] int received_in_last() const noexcept { return received_in_last_; }

 private:
  void complete();
  bool overwrite_ = true;
  bool last_ = false;
  bool completed_ = false;
  int received_ = 0;
  int received_in_last_ = 0;
};

/// A parameter as the stage computes with it.
struct BoundParam {
  at::Tensor value;         ///< compute type, local shape, a leaf that requires a gradient
  GradSink* sink = nullptr; ///< owned by the host; null: return the gradient to autograd (evaluation, tests)
};

/// Device-side decision of a step; scalars of shape [] in fp32 (fp64 in an fp64 run). Nothing here is read by the host
/// before the update: when apply is 0, weights, moments, optimizer step and router bias stay as they were.
struct StepGate {
  at::Tensor found_inf;      ///< 1 when any gradient of any rank is not finite
  at::Tensor norm_squared;   ///< of the unscaled global gradient
  at::Tensor clip_factor;    ///< min(1, limit / (norm + 1e-6)), as torch's clip_grad_norm_
  at::Tensor gradient_scale; ///< clip_factor / loss_scale; the update uses gradient * gradient_scale
  at::Tensor apply;          ///< 1 or 0
};

} // namespace conclave
