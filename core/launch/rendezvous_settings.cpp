// The launchers' variables.

#include <charconv>
#include <cstring>

#include "launch/rendezvous.hpp"

namespace conclave {
namespace {

std::string variable(const EnvironmentLookup& get, const char* name) {
  const char* text = get(name);
  return text == nullptr ? "" : text;
}

/// The first host of a list such as "gpu[07-09,12],login1".
std::string first_host(const std::string& list) {
  const std::size_t end = list.find_first_of(",[");
  if (end == std::string::npos || list[end] == ',') return list.substr(0, end);
  const std::size_t close = list.find(']', end);
  const std::size_t number_end = list.find_first_of("-,]", end);
  if (close == std::string::npos) return list.substr(0, end);
  const std::string suffix = list.substr(close + 1, list.find(',', close) - close - 1);
  return list.substr(0, end) + list.substr(end + 1, number_end - end - 1) + suffix;
}

/// A port for the launch of that id: below those that the kernel gives to connections.
int derived_port(const std::string& id) {
  std::uint32_t hash = 2166136261u; // FNV-1a: the same on every machine
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return 20000 + static_cast<int>(hash % 12000);
}

Status read_positive(const EnvironmentLookup& get, const char* name, int largest, int& out) {
  const char* text = get(name);
  if (text == nullptr) return {};
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), out);
  if (error != std::errc{} || *end != '\0' || out < 1 || out > largest)
    return unsupported(std::string(name) + "='" + text + "' is no number from 1 to " + std::to_string(largest),
                       "set it to one, or unset it");
  return {};
}

Error without(const std::string& launcher, const char* name, std::string fix) {
  return unsupported(launcher + " did not set " + name, std::move(fix));
}

} // namespace

Result<RendezvousSettings> resolve_rendezvous(const RankInfo& ranks, const EnvironmentLookup& get) {
  RendezvousSettings settings;
  settings.ranks = ranks;
  if (ranks.world_size == 1) return settings;
  int seconds = static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(settings.timeout).count());
  CONCLAVE_RETURN_IF_ERROR(read_positive(get, "CONCLAVE_RENDEZVOUS_TIMEOUT", 1 << 20, seconds));
  settings.timeout = std::chrono::seconds(seconds);
  CONCLAVE_RETURN_IF_ERROR(read_positive(get, "MASTER_PORT", 65535, settings.address.port));
  settings.host_store = ranks.rank == 0;
  std::string host = variable(get, "MASTER_ADDR");
  const bool one_machine = ranks.local_world_size == ranks.world_size;

  if (ranks.launcher == "conclave") {
    settings.host_store = false; // the supervisor does
    settings.id = variable(get, "CONCLAVE_RENDEZVOUS_ID");
    if (settings.id.empty() || settings.address.port == 0)
      return without("the supervisor", settings.id.empty() ? "CONCLAVE_RENDEZVOUS_ID" : "MASTER_PORT",
                     "start the run with --ranks, or unset CONCLAVE_RANK");
  } else if (ranks.launcher == "torchrun") {
    settings.agent_store = variable(get, "TORCHELASTIC_USE_AGENT_STORE") != "False";
    if (settings.agent_store) settings.host_store = false;
    settings.id = variable(get, "TORCHELASTIC_RUN_ID") + "." + variable(get, "TORCHELASTIC_RESTART_COUNT");
    if (host.empty() || settings.address.port == 0)
      return without("torchrun", host.empty() ? "MASTER_ADDR" : "MASTER_PORT", "start the run through torchrun");
  } else if (ranks.launcher == "srun") {
    settings.id = variable(get, "SLURM_JOB_ID") + "." + variable(get, "SLURM_STEP_ID");
    if (const std::string restarts = variable(get, "SLURM_RESTART_COUNT"); !restarts.empty())
      settings.id += "." + restarts;
    if (const std::string ours = variable(get, "CONCLAVE_MASTER_ADDR"); !ours.empty()) host = ours;
    if (host.empty() && !one_machine) host = first_host(variable(get, "SLURM_STEP_NODELIST"));
    if (host.empty() && !one_machine)
      return without("srun", "SLURM_STEP_NODELIST", "set CONCLAVE_MASTER_ADDR to the host of rank 0");
  } else { // mpirun
    settings.id = variable(get, "PMIX_NAMESPACE");
    if (settings.id.empty()) settings.id = variable(get, "OMPI_MCA_ess_base_jobid");
    if (settings.id.empty() && settings.address.port == 0)
      return without(ranks.launcher, "PMIX_NAMESPACE", "set MASTER_PORT: mpirun -x MASTER_PORT=29500");
    if (host.empty() && !one_machine)
      return unsupported("the ranks are on several machines and MASTER_ADDR is not set",
                         "name rank 0's: mpirun -x MASTER_ADDR=<host>");
  }
  if (!host.empty()) settings.address.host = host;
  if (settings.address.port == 0) settings.address.port = derived_port(settings.id);
  return settings;
}

} // namespace conclave
