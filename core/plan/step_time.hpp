// Time of a training step by part: passes played through the pipeline's schedule, sums of gradients, the update.
//
// What this is: arithmetic on a step's work, whoever describes it: step_work.hpp asks a model, a test may write it down.
// What this is not: measured. Experts are taken to be chosen equally often, sequences to be as long as they may be, and a
// collective to take nothing from a kernel beside it.
//
// Threading: pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "conclave/mesh.hpp"
#include "conclave/model.hpp"
#include "plan/machine.hpp"
#include "plan/operator_time.hpp"
#include "train/pipeline_schedule.hpp"

namespace conclave::plan {

struct ChunkWork {
  StageWork stage;
  double input_bytes = 0, output_bytes = 0; ///< of messages from and to other chunks
};

/// Gradients that the same ranks add up.
struct GradientSum {
  std::vector<MeshDim> over;
  double reduced_bytes = 0;  ///< as they travel
  double gathered_bytes = 0; ///< of new values; 0: every rank gets the whole sum and updates all
};

/// Of one rank of the pipeline.
struct RankWork {
  std::vector<ChunkWork> chunks; ///< its own, in the order of the model
  std::vector<GradientSum> sums;
  double update_bytes = 0; ///< read and written by norm, optimizer and casts
};

struct StepWork {
  Mesh mesh;
  train::PipelineShape shape;
  Compute compute = Compute::bf16;
  std::vector<RankWork> ranks;
  bool sums_overlap = true; ///< sums run beside the last micro-batch's backward passes
  bool graphs = false;      ///< passes are enqueued as a whole; else operator by operator
};

enum class StepPart : std::uint8_t {
  products,
  grouped_products,
  attention,
  memory,
  host,
  tensor_exchange,
  expert_exchange,
  pipeline_wait,
  gradient_sums,
  update,
  value_gathers
};
inline constexpr std::size_t step_part_count = 11;
const char* to_string(StepPart part) noexcept;

struct StepTime {
  double seconds = 0;
  std::array<double, step_part_count> parts{}; ///< of the rank that is done last; they add up to `seconds`
  SentBytes sent;                              ///< by that rank in a step
  std::string bound;                           ///< "compute", "memory bandwidth", "links within nodes", ...

  [[nodiscard]] double operator[](StepPart part) const noexcept { return parts[static_cast<std::size_t>(part)]; }
};

/// Code::unsupported where the machine file says nothing of the compute type or of a link that is needed.
Result<StepTime> step_time(const StepWork& work, const Machine& machine);

} // namespace conclave::plan
