// The stages of a model as a layout would make them, described and not bound. Within core/plan.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "conclave/model.hpp"
#include "plan/memory.hpp"
#include "train/pipeline_schedule.hpp"

namespace conclave::plan {

struct Types {
  at::ScalarType compute = at::kFloat, master = at::kFloat;
};
Types types_of(const Experiment& experiment);

std::int64_t size_of(at::ScalarType type); ///< bytes of an element
std::int64_t count(const std::vector<std::int64_t>& shape);
std::int64_t rounded_up(std::int64_t n, std::int64_t unit);

struct PlannedChunk {
  StageDescription description;
  ActivationBytes activations;
  StageWork work;
  std::int64_t input_bytes = 0, output_bytes = 0; ///< of a micro-batch's activations, from and to other chunks
};

/// Micro-batches of one rank in a step.
struct Batches {
  std::int64_t count = 0, rows = 0, length = 0;
};

/// All chunks of the model as a mesh makes them.
struct PlannedLayout {
  Mesh mesh;
  Batches batches;
  train::PipelineShape shape;
  std::vector<std::vector<PlannedChunk>> ranks; ///< by rank of the pipeline, its own chunks
};

/// A batch that does not divide into micro-batches, and what the model refuses, is the error of that.
Result<PlannedLayout> plan_layout(const Subject& subject, const Mesh& mesh);

/// Elements that lie together in flat groups (train/storage.hpp): those over the same ranks and of the same type.
struct PlannedGroup {
  std::vector<MeshDim> over; ///< ranks that add up their gradients, `ranks` of them
  std::int64_t ranks = 1;
  std::int64_t size = 0, owned = 0, held = 0; ///< elements: all, this rank's part, those that it has states of
  at::ScalarType value = at::kFloat;          ///< what stages compute with
  at::ScalarType travels = at::kFloat;        ///< in which gradients are sent
};
std::vector<PlannedGroup> plan_groups(const Subject& subject, const Mesh& mesh,
                                      const std::vector<PlannedChunk>& chunks);

/// plan_memory() of a layout that is there already.
Result<std::vector<Memory>> memory_of(const Subject& subject, const PlannedLayout& layout);

} // namespace conclave::plan
