// A step of a dense GPT as Megatron-LM runs it on A100, for scoring the time model on published figures.
#pragma once

#include <string>
#include <vector>

#include "plan/step_time.hpp"

namespace conclave::plan::testing {

enum class Recomputed { none, selective, full };

/// One row of tests/golden/plan.
struct PublishedRow {
  int gpus = 0, batch = 0, micro_batch = 0, hidden = 0, heads = 0, layers = 0, length = 0;
  int tensor = 0, data = 0, pipeline = 0, virtual_stages = 0;
  Recomputed recompute = Recomputed::full;
  bool sequence_parallel = false;
  double seconds = 0; ///< measured
};

/// The rows of a file, in its order; throws std::runtime_error when it is not as the README of the folder says.
std::vector<PublishedRow> read_published(const std::string& path);

/// Layers of two products before and two after attention with its scores in memory, fused softmax, dropout, GeLU of 4 x
/// hidden; vocabulary 51200; fp16 gradients summed after the last micro-batch; no optimizer sharding.
StepWork dense_gpt_step(const PublishedRow& row);

} // namespace conclave::plan::testing
