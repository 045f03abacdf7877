// Rank resolution and the arithmetic of layouts.

#include "launch/ranks.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

namespace conclave {
namespace {

/// Reads one integer variable into `out`.
Status read_number(const EnvironmentLookup& get, const char* launcher, const char* name, int& out) {
  const char* text = get(name);
  if (text == nullptr)
    return unsupported(std::string(launcher) + " did not set " + name,
                       "start the run with the launcher, or unset its other variables");
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), out);
  if (error != std::errc{} || *end != '\0' || out < 0)
    return unsupported(std::string(name) + "='" + text + "' is no rank number",
                       "unset it or start through the launcher");
  return {};
}

struct Names {
  const char *launcher, *rank, *world, *local_rank, *local_world;
};

/// This node's tasks from SLURM_STEP_TASKS_PER_NODE, e.g. "4(x2),3" for nodes of 4, 4 and 3; 1 when it does not say.
int slurm_tasks_here(const EnvironmentLookup& get) {
  const char* list = get("SLURM_STEP_TASKS_PER_NODE");
  const char* place = get("SLURM_NODEID");
  if (list == nullptr || place == nullptr) return 1;
  int tasks = 1;
  for (long node = std::strtol(place, nullptr, 10); node >= 0;) {
    char* at = nullptr;
    tasks = static_cast<int>(std::strtol(list, &at, 10));
    node -= at[0] == '(' && at[1] == 'x' ? std::strtol(at + 2, &at, 10) : 1;
    at += std::strcspn(at, ",");
    if (*at == '\0') break;
    list = at + 1;
  }
  return tasks;
}

} // namespace

Result<RankInfo> resolve_ranks(const EnvironmentLookup& get) {
  Names names{};
  if (get("CONCLAVE_RANK") != nullptr)
    names = {"conclave", "CONCLAVE_RANK", "CONCLAVE_WORLD_SIZE", "CONCLAVE_LOCAL_RANK", "CONCLAVE_LOCAL_WORLD_SIZE"};
  else if (get("RANK") != nullptr && get("TORCHELASTIC_RUN_ID") != nullptr)
    names = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
  else if (get("SLURM_STEP_ID") != nullptr && get("SLURM_PROCID") != nullptr)
    names = {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr};
  else if (get("OMPI_COMM_WORLD_RANK") != nullptr)
    names = {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
             "OMPI_COMM_WORLD_LOCAL_SIZE"};
  else
    return RankInfo{};

  RankInfo info;
  info.launcher = names.launcher;
  CONCLAVE_RETURN_IF_ERROR(read_number(get, names.launcher, names.rank, info.rank));
  CONCLAVE_RETURN_IF_ERROR(read_number(get, names.launcher, names.world, info.world_size));
  CONCLAVE_RETURN_IF_ERROR(read_number(get, names.launcher, names.local_rank, info.local_rank));
  if (names.local_world != nullptr)
    CONCLAVE_RETURN_IF_ERROR(read_number(get, names.launcher, names.local_world, info.local_world_size));
  else
    info.local_world_size = slurm_tasks_here(get);
  if (info.world_size < 1 || info.rank >= info.world_size)
    return unsupported(
        "rank " + std::to_string(info.rank) + " of " + std::to_string(info.world_size) + " ranks cannot be",
        "check the launcher's variables");
  return info;
}

namespace {

Result<TaskInfo> task_of_launcher(const EnvironmentLookup& get) {
  TaskInfo task;
  if (get("JOB_COMPLETION_INDEX") != nullptr) {
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "Kubernetes", "JOB_COMPLETION_INDEX", task.index));
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "the manifest of the Job", "CONCLAVE_TASKS", task.count));
    return task;
  }
  CONCLAVE_ASSIGN(const RankInfo ranks, resolve_ranks(get));
  if (get("SLURM_ARRAY_TASK_ID") != nullptr) {
    int first = 0, step = 1;
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "Slurm", "SLURM_ARRAY_TASK_ID", task.index));
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "Slurm", "SLURM_ARRAY_TASK_COUNT", task.count));
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "Slurm", "SLURM_ARRAY_TASK_MIN", first));
    CONCLAVE_RETURN_IF_ERROR(read_number(get, "Slurm", "SLURM_ARRAY_TASK_STEP", step));
    task.index = (task.index - first) / std::max(step, 1);
  } else if (ranks.launcher == "single") {
    return unsupported(
        "nothing in the environment says which task this is",
        "start it through srun, a Slurm job array, mpirun or a Kubernetes Indexed Job, or give --task 0/8 to "
        "--task 7/8",
        "--task auto");
  }
  return TaskInfo{task.index * ranks.world_size + ranks.rank, task.count * ranks.world_size};
}

} // namespace

Result<TaskInfo> resolve_task(const std::string& text, const EnvironmentLookup& get) {
  TaskInfo task;
  if (text == "auto") {
    CONCLAVE_ASSIGN(task, task_of_launcher(get));
  } else {
    const char *at = text.data(), *end = at + text.size();
    const auto index = std::from_chars(at, end, task.index);
    const bool slash = index.ec == std::errc{} && index.ptr != end && *index.ptr == '/';
    const auto count = slash ? std::from_chars(index.ptr + 1, end, task.count) : index;
    if (!slash || count.ec != std::errc{} || count.ptr != end)
      return invalid("'" + text + "' is no task", "write --task 0/8 to --task 7/8, or --task auto", "--task");
  }
  if (task.index < 0 || task.count < 1 || task.index >= task.count)
    return invalid("there is no task " + std::to_string(task.index) + " of " + std::to_string(task.count),
                   "tasks are counted from 0", "--task");
  return task;
}

Result<Mesh> resolve_mesh(const ParallelSizes& sizes, std::int64_t world_size, std::int64_t rank) {
  const auto text = [](std::int64_t n) { return std::to_string(n); };
  const std::int64_t dense = sizes.tensor * sizes.pipeline;
  const std::string product = "tensor " + text(sizes.tensor) + " x pipeline " + text(sizes.pipeline);
  std::int64_t data = sizes.data;
  if (data == 0 && world_size == 0) data = sizes.expert / std::gcd(sizes.expert, sizes.tensor);
  if (data == 0) {
    if (world_size % dense != 0)
      return unsupported(product + " = " + text(dense) + " does not divide " + text(world_size) + " ranks",
                         "change parallel.* or the number of ranks");
    data = world_size / dense;
  } else if (world_size != 0 && dense * data != world_size) {
    return unsupported(
        product + " x data " + text(data) + " = " + text(dense * data) + " ranks, but the run has " + text(world_size),
        "start " + text(dense * data) + " ranks, or set parallel.data: auto");
  }
  const std::int64_t folded = data * sizes.tensor;
  if (folded % sizes.expert != 0) {
    std::string what = "expert " + text(sizes.expert) + " does not divide data " + text(data) + " x tensor " +
                       text(sizes.tensor) + " = " + text(folded);
    std::string fix = "experts are folded over the data and tensor ranks: choose a divisor of " + text(folded);
    return sizes.data != 0 ? invalid(std::move(what), std::move(fix)) : unsupported(std::move(what), std::move(fix));
  }
  if (dense * data > std::numeric_limits<int>::max())
    return invalid(text(dense * data) + " ranks are more than any launcher starts", "lower parallel.*");

  std::array<int, mesh_dim_count> size{};
  const auto set = [&](MeshDim dim, std::int64_t count) {
    size[static_cast<std::size_t>(dim)] = static_cast<int>(count);
  };
  set(MeshDim::pipeline, sizes.pipeline);
  set(MeshDim::data, data);
  set(MeshDim::context, 1);
  set(MeshDim::tensor, sizes.tensor);
  set(MeshDim::expert_data, folded / sizes.expert);
  set(MeshDim::expert, sizes.expert);
  return mesh_of(Mesh(size, {}), static_cast<int>(rank));
}

Mesh mesh_of(const Mesh& sizes, int rank) {
  std::array<int, mesh_dim_count> size{}, index{};
  for (std::size_t i = 0; i < mesh_dim_count; ++i) size[i] = sizes.size(static_cast<MeshDim>(i));
  const auto set = [&index](MeshDim dim, int place) { index[static_cast<std::size_t>(dim)] = place; };
  const int tensor = sizes.size(MeshDim::tensor), expert = sizes.size(MeshDim::expert);
  const int folded = sizes.size(MeshDim::data) * tensor, in_stage = rank % folded;
  set(MeshDim::pipeline, rank / folded);
  set(MeshDim::data, in_stage / tensor);
  set(MeshDim::tensor, in_stage % tensor);
  set(MeshDim::expert_data, in_stage / expert);
  set(MeshDim::expert, in_stage % expert);
  return {size, index};
}

std::vector<int> ranks_over(const Mesh& mesh, std::span<const MeshDim> dims) {
  const auto named = [dims](MeshDim dim) { return std::find(dims.begin(), dims.end(), dim) != dims.end(); };
  // In the other view, what a rank differs in follows from the ranks that differ in this one.
  const bool experts = named(MeshDim::expert_data) || named(MeshDim::expert);
  const std::array view = experts ? std::array{MeshDim::pipeline, MeshDim::expert_data, MeshDim::expert}
                                  : std::array{MeshDim::pipeline, MeshDim::data, MeshDim::tensor};
  std::vector<int> ranks;
  for (int rank = 0; rank < mesh.world_size(); ++rank) {
    const Mesh other = mesh_of(mesh, rank);
    if (std::all_of(view.begin(), view.end(),
                    [&](MeshDim dim) { return named(dim) || other.index(dim) == mesh.index(dim); }))
      ranks.push_back(rank);
  }
  return ranks;
}

std::string rank_list(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t first = 0; first < ranks.size();) {
    std::size_t last = first;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(ranks[first]);
    if (last > first) text += (last == first + 1 ? ", " : "-") + std::to_string(ranks[last]);
    first = last + 1;
  }
  return (ranks.size() == 1 ? "rank " : "ranks ") + text;
}

std::string seconds_text(std::chrono::milliseconds time) {
  const auto whole = time.count() / 1000, rest = time.count() % 1000;
  std::string text = std::to_string(whole);
  if (rest != 0) {
    std::string fraction = std::to_string(1000 + rest).substr(1);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    text += "." + fraction;
  }
  return text + " s";
}

} // namespace conclave
