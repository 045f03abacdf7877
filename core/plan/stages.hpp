// The stages of a model as a layout would make them, described and not bound. Within core/plan.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "conclave/model.hpp"
#include "plan/memory.hpp"

namespace conclave::plan {

struct Types {
  at::ScalarType compute = at::kFloat, master = at::kFloat;
};
Types types_of(const Experiment& experiment);

std::int64_t size_of(at::ScalarType type); ///< bytes of an element
std::int64_t count(const std::vector<std::int64_t>& shape);

/// The first rank of that pipeline stage.
Mesh at_pipeline_rank(const Mesh& mesh, int rank);

struct PlannedChunk {
  StageDescription description;
  ActivationBytes activations;
  std::int64_t input_bytes = 0, output_bytes = 0; ///< of a micro-batch's activations, from and to other chunks
};

/// The chunks of `mesh`'s rank for micro-batches of `rows` sequences of `length` tokens.
Result<std::vector<PlannedChunk>> plan_chunks(const Subject& subject, const Mesh& mesh, std::int64_t rows,
                                              std::int64_t length);

} // namespace conclave::plan
