// Which rank of how many this process is, from the launcher's environment.
//
// torchrun wins when RANK and TORCHELASTIC_RUN_ID are both set, then a Slurm step (SLURM_STEP_ID; a bare sbatch shell is no
// step), then Open MPI, else a single rank. A half-set environment is an error that names what is missing.
#pragma once

#include <functional>
#include <string>

#include "conclave/mesh.hpp"
#include "conclave/status.hpp"

namespace conclave {

struct RankInfo {
  int rank = 0, world_size = 1;
  int local_rank = 0, local_world_size = 1;
  std::string launcher = "single"; ///< "torchrun", "srun", "mpirun" or "single"
};

/// `get` looks up an environment variable and gives null when it is not set.
using EnvironmentLookup = std::function<const char*(const char* name)>;
Result<RankInfo> resolve_ranks(const EnvironmentLookup& get);

struct ParallelSizes {
  int tensor = 1, pipeline = 1, expert = 1;
  int data = 0; ///< 0 = what is left
};
/// Checks the arithmetic of a layout for `world_size` ranks; `world_size` 0 = any (then data must be given or counts as 1).
/// `experts` is the model's number of routed experts, 0 when unknown. Returns the number of data ranks.
Result<int> resolve_data_ranks(const ParallelSizes& sizes, int world_size, int experts);

} // namespace conclave
