// Rank resolution and the arithmetic of layouts.

#include "launch/ranks.hpp"

#include <array>
#include <charconv>
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

} // namespace

Result<RankInfo> resolve_ranks(const EnvironmentLookup& get) {
  Names names{};
  if (get("RANK") != nullptr && get("TORCHELASTIC_RUN_ID") != nullptr)
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
  if (info.world_size < 1 || info.rank >= info.world_size)
    return unsupported(
        "rank " + std::to_string(info.rank) + " of " + std::to_string(info.world_size) + " ranks cannot be",
        "check the launcher's variables");
  return info;
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

  std::array<int, mesh_dim_count> size{}, index{};
  const auto set = [&](MeshDim dim, std::int64_t count, std::int64_t place) {
    size[static_cast<std::size_t>(dim)] = static_cast<int>(count);
    index[static_cast<std::size_t>(dim)] = static_cast<int>(place);
  };
  const std::int64_t in_stage = rank % folded;
  set(MeshDim::pipeline, sizes.pipeline, rank / folded);
  set(MeshDim::data, data, in_stage / sizes.tensor);
  set(MeshDim::context, 1, 0);
  set(MeshDim::tensor, sizes.tensor, in_stage % sizes.tensor);
  set(MeshDim::expert_data, folded / sizes.expert, in_stage / sizes.expert);
  set(MeshDim::expert, sizes.expert, in_stage % sizes.expert);
  return Mesh(size, index);
}

} // namespace conclave
