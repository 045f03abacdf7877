// The test kit for tensor plugins: batches, bound stages, optimizer segments.
//
// What this is: the smallest host of a Stage or an Optimizer, on the CPU. What this is not: the step engine; nothing here
// scales, clips or reduces.
//
// Threading: single thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/batch.hpp"
#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"

namespace conclave::testkit {

/// A batch of `rows` sequences of `length` uniform random tokens below `vocabulary`; labels are the next tokens. When
/// `padding` > 0 the last row ends in that many padding positions, which count in no loss.
Batch random_batch(std::int64_t rows, std::int64_t length, std::int64_t vocabulary, std::uint64_t seed,
                   std::int64_t padding = 0);

/// The initial value of a local parameter, in fp64: InitSpec's rule applied to each piece.
at::Tensor initial_value(const ParamSpec& spec, std::uint64_t seed);

/// Where gradients go: back from autograd, or through a GradSink for each parameter, as in training.
enum class Gradients { autograd, sinks };

/// A stage with storage that lives in this object: parameters in their initial value as leaves that require a gradient,
/// buffers zero.
struct BoundStage {
  std::unique_ptr<Stage> stage;
  StageDescription description;
  StageStorage storage;
  std::vector<std::unique_ptr<GradSink>> sinks; ///< as the parameters; empty with Gradients::autograd
  /// The parameter of that name of the description; throws std::out_of_range.
  [[nodiscard]] at::Tensor parameter(const std::string& name) const;
  /// After each backward pass: hands what reached a parameter's leaf to its sink, as the host's adapter does.
  void collect_gradients();
  /// Of the i-th parameter, from its sink or from autograd; undefined when autograd gave none.
  [[nodiscard]] at::Tensor gradient(std::size_t i) const;
};

/// Describes, allocates, fills and binds. Parameters are of `request.master` type where full_precision, else of `compute`.
/// Sinks are at the beginning of a step, and their gradients hold what no step may keep.
Result<BoundStage> bind_stage(const Model& model, const StageRequest& request, std::uint64_t seed,
                              Gradients gradients = Gradients::autograd);

/// The total loss of a micro-batch that is the whole global batch: sum of weight * sum / normaliser.
at::Tensor total_loss(const StageOutput& output, const Batch& batch);

/// Whether the update applies, and by what gradients are scaled; everything of type `dtype`.
StepGate make_gate(bool apply, double gradient_scale = 1, at::ScalarType dtype = at::kFloat);

/// Masters, gradients and zero states of the given sizes, filled with standard normal numbers.
std::vector<Segment> random_segments(const OptimizerTraits& traits,
                                     const std::vector<std::vector<std::int64_t>>& shapes, std::uint64_t seed,
                                     at::ScalarType dtype = at::kFloat);

} // namespace conclave::testkit
