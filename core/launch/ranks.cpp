// Rank resolution and the arithmetic of layouts.

#include "launch/ranks.hpp"

#include <charconv>
#include <cstring>

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

Result<int> resolve_data_ranks(const ParallelSizes& sizes, int world_size, int experts) {
  const int dense = sizes.tensor * sizes.pipeline;
  const std::string product =
      "tensor " + std::to_string(sizes.tensor) + " x pipeline " + std::to_string(sizes.pipeline);
  int data = sizes.data;
  if (data == 0) {
    if (world_size != 0 && world_size % dense != 0)
      return unsupported(
          product + " = " + std::to_string(dense) + " does not divide " + std::to_string(world_size) + " ranks",
          "change parallel.* or the number of ranks");
    data = world_size == 0 ? 1 : world_size / dense;
  } else if (world_size != 0 && dense * data != world_size) {
    return unsupported(product + " x data " + std::to_string(data) + " = " + std::to_string(dense * data) +
                           " ranks, but the run has " + std::to_string(world_size),
                       "start " + std::to_string(dense * data) + " ranks, or set parallel.data: auto");
  }
  if (sizes.expert > 1 && sizes.data != 0 && (data * sizes.tensor) % sizes.expert != 0)
    return unsupported("expert " + std::to_string(sizes.expert) + " does not divide data " + std::to_string(data) +
                           " x tensor " + std::to_string(sizes.tensor) + " = " + std::to_string(data * sizes.tensor),
                       "experts are folded over the data and tensor ranks: choose a divisor");
  if (experts > 0 && experts % sizes.expert != 0)
    return unsupported("expert " + std::to_string(sizes.expert) + " does not divide the model's " +
                           std::to_string(experts) + " experts",
                       "choose a divisor");
  return data;
}

} // namespace conclave
