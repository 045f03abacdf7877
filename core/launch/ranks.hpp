// Which rank of how many this process is, from the launcher's environment.
//
// Our own supervisor (CONCLAVE_RANK) wins, since whatever started it has its variables set too; then torchrun when RANK and
// TORCHELASTIC_RUN_ID are both set, then a Slurm step (SLURM_STEP_ID; a bare sbatch shell is no step), then Open MPI, else a
// single rank. A half-set environment is an error that names what is missing.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "conclave/mesh.hpp"
#include "conclave/status.hpp"

namespace conclave {

struct RankInfo {
  int rank = 0, world_size = 1;
  int local_rank = 0, local_world_size = 1;
  std::string launcher = "single"; ///< "conclave", "torchrun", "srun", "mpirun" or "single"
};

/// `get` looks up an environment variable and gives null when it is not set.
using EnvironmentLookup = std::function<const char*(const char* name)>;
Result<RankInfo> resolve_ranks(const EnvironmentLookup& get);

/// One of several processes that share out work over a file system: they need no network, nor to run at the same time.
struct TaskInfo {
  int index = 0, count = 1;
};

/// `text`: `2/8`, or `auto` for what the launcher says: an index of a Kubernetes Indexed Job (JOB_COMPLETION_INDEX; it has no
/// variable for their number, so CONCLAVE_TASKS gives it), a task of a Slurm job array (with several ranks in its step, each of
/// those), else the ranks of resolve_ranks().
Result<TaskInfo> resolve_task(const std::string& text, const EnvironmentLookup& get);

struct ParallelSizes {
  std::int64_t tensor = 1, pipeline = 1, expert = 1;
  std::int64_t data = 0; ///< 0 = what is left
};

/// The mesh of `rank` in `world_size` ranks. Neighbouring ranks differ in the tensor dimension first, then in data, then in
/// pipeline; the experts are folded over the tensor and data ranks of a pipeline stage, neighbours holding different ones.
/// `world_size` 0 = as many as the sizes ask for, the fewest data ranks that fold where `data` is 0.
///
/// Sizes that contradict each other are Code::invalid_argument, a world that does not fit them Code::unsupported, both with
/// the arithmetic.
Result<Mesh> resolve_mesh(const ParallelSizes& sizes, std::int64_t world_size, std::int64_t rank);

/// The place of another rank in the same arrangement.
Mesh mesh_of(const Mesh& sizes, int rank);
/// The ranks that differ from this one in `dims` only, in the order of their numbers. Precondition: as Groups::over.
std::vector<int> ranks_over(const Mesh& mesh, std::span<const MeshDim> dims);

/// "rank 5", "ranks 0-2, 5"; sorted numbers.
std::string rank_list(const std::vector<int>& ranks);
/// "1 s", "0.25 s".
std::string seconds_text(std::chrono::milliseconds time);

} // namespace conclave
