// Layouts of a number of GPUs, by the time of a step on a machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "launch/ranks.hpp"
#include "plan/machine.hpp"
#include "plan/memory.hpp"
#include "plan/step_time.hpp"

namespace conclave::plan {

/// What a search chooses, as an experiment writes it.
struct LayoutChoice {
  ParallelSizes sizes;
  int virtual_stages = 1;
  std::int64_t micro_batch = 1;
  bool recompute = false, shard_optimizer = true;
};

struct LayoutPlan {
  LayoutChoice choice;
  Mesh mesh;
  Memory memory; ///< of the fullest rank
  StepTime time;

  /// With what torch's allocator does not see.
  [[nodiscard]] std::int64_t bytes() const noexcept { return memory.sum() + outside_allocator; }
};

/// The experiment's own choice on that mesh.
LayoutChoice choice_of(const Experiment& experiment, const Mesh& mesh);

/// Memory and time of the experiment on a mesh, whether it fits or not.
Result<LayoutPlan> plan_layout_on(const Subject& subject, const Mesh& mesh, const Machine& machine);

struct LayoutSearch {
  std::vector<LayoutPlan> best; ///< the fastest of those that fit, fastest first
  std::size_t fitting = 0; ///< layouts that fit; of one that does without recomputing, and with sharded states, no more
  std::size_t too_large = 0; ///< that the model and the batch allow and the memory does not
};

/// All degrees that multiply to `gpus`, tensor ranks within a node, virtual stages up to 8, every micro-batch that divides,
/// with and without recomputation and sharded optimizer states. What only costs time is not tried where memory does
/// without it. The experiment's global batch and everything else stay.
///
/// None that the model and the batch allow, or none that fits, is Code::unsupported, with the reason of the first or
/// with the least memory that any needs.
Result<LayoutSearch> search_layouts(const Subject& subject, std::int64_t gpus, const Machine& machine,
                                    std::size_t most);

} // namespace conclave::plan
