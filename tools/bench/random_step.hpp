// A training step of random tokens, for benchmarks.
#pragma once

#include "conclave/random.hpp"
#include "data/batch_plan.hpp"

namespace conclave::bench {

struct StepShape {
  std::int64_t rows, micro_rows, length, vocabulary;
};

/// Different for each index; every position counts in the loss.
inline data::HostStep random_step(std::int64_t index, const StepShape& shape) {
  const RandomStream stream(1, "bench/" + std::to_string(index));
  const auto vocabulary = static_cast<std::uint64_t>(shape.vocabulary);
  data::HostStep step;
  step.batch_index = index;
  step.global_sequences = shape.rows;
  step.global_loss_tokens = shape.rows * shape.length;
  std::uint64_t draw = 0;
  for (std::int64_t first = 0; first < shape.rows; first += shape.micro_rows) {
    data::HostMicroBatch& micro = step.micro_batches.emplace_back();
    micro.rows = shape.micro_rows;
    micro.length = shape.length;
    for (std::int64_t row = 0; row < shape.micro_rows; ++row) {
      micro.domains.push_back(0);
      for (std::int64_t i = 0; i < shape.length; ++i) {
        micro.tokens.push_back(static_cast<std::int64_t>(stream.below(draw++, vocabulary)));
        micro.labels.push_back(static_cast<std::int64_t>(stream.below(draw++, vocabulary)));
        micro.position_ids.push_back(i);
        micro.loss_mask.push_back(1);
      }
    }
  }
  return step;
}

} // namespace conclave::bench
