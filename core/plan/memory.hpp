// Memory of a run's GPUs, from what the experiment and the model say of themselves: nothing is allocated.
//
// The parts are those of the engine (core/train): values, main gradients, masters and states of the flat groups;
// activations as the stages state them, played through the pipeline's schedule; buffers. Their sum is the peak of what
// torch's allocator gives out. Experts are taken to be chosen equally often: chosen more, they need more.
//
// Threading: pure functions, which call the model on the calling thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/mesh.hpp"
#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/status.hpp"
#include "config/experiment.hpp"

namespace conclave::plan {

/// What is planned for. The pointers outlive it.
struct Subject {
  const Experiment* experiment = nullptr;
  const Model* model = nullptr; ///< made in the check phase
  OptimizerTraits optimizer;
  ModelShape shape;
};

/// Bytes on one rank's GPU.
struct Memory {
  std::int64_t weights = 0;   ///< what stages compute with
  std::int64_t gradients = 0; ///< main gradients
  /// What this rank holds of masters, where they are no weights already, and of states.
  std::int64_t optimizer = 0;
  /// At the worst moment of a step, with messages of the pipeline.
  std::int64_t activations = 0;
  /// The model's buffers, batches, gradients in the type that they travel in, workspaces of libraries.
  std::int64_t buffers = 0;
  /// No part of the sum: in the host's memory, page-locked, this rank's part of a checkpoint.
  std::int64_t host_staging = 0;
  bool activations_known = true; ///< false: the model does not say

  [[nodiscard]] std::int64_t sum() const noexcept { return weights + gradients + optimizer + activations + buffers; }
};

/// Bytes of a GPU that torch's allocator never sees: CUDA's context (0.55 GB on an H100) and the kernels of a step,
/// loaded as they are used (0.67 GB with it). What NCCL takes for itself, which grows with the number of groups, is not
/// measured.
inline constexpr std::int64_t outside_allocator = 700'000'000;

/// How much of a GPU a plan fills. Gaps in the allocator take some of the rest, and unevenly chosen experts: on an H200 a plan of
/// 85 % ran and one of 97 % was out of memory.
inline constexpr double planned_share = 0.95;

/// By rank of the pipeline; all ranks of one pipeline stage need the same. A batch that does not divide into
/// micro-batches, and what the model refuses, is the error of that.
Result<std::vector<Memory>> plan_memory(const Subject& subject, const Mesh& mesh);

/// The most of them.
const Memory& fullest(const std::vector<Memory>& ranks);

/// "weights 3.2 + gradients 6.4 + ... = 62.5 GB", with what lies outside of the allocator.
std::string arithmetic(const Memory& memory);
/// "pipeline 1 x data 8 x tensor 1, experts over 8".
std::string describe(const Mesh& mesh);
/// "62.5 GB": powers of 1000, three digits.
std::string size_text(std::int64_t bytes);

} // namespace conclave::plan
