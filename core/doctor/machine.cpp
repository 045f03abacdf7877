// /proc, /sys, getrlimit.

#include "doctor/machine.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <thread>

namespace conclave::doctor {
namespace {

constexpr auto unlimited = std::numeric_limits<std::uint64_t>::max();
/// Every rank opens its data, its plugins, a connection to each other rank and a file for each kernel that is loaded.
constexpr std::uint64_t enough_files = 4096, few_files = 1024;
constexpr std::int64_t enough_shm = 1'000'000'000; ///< through it the ranks of a node talk under NCCL
constexpr std::int64_t enough_memory = 4'000'000'000;

std::string read_text(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::int64_t> leading_number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

std::uint64_t limit_value(rlim_t value) { return value == RLIM_INFINITY ? unlimited : std::uint64_t{value}; }

std::string limit_text(std::uint64_t value) { return value == unlimited ? "no limit" : std::to_string(value); }

Check judge_open_files(const MachineFacts& facts, const Expectation& expected) {
  const std::string more = facts.open_files_most > facts.open_files
                               ? "`ulimit -n " + limit_text(facts.open_files_most) + "` is allowed here"
                               : "raise nofile in /etc/security/limits.conf, or LimitNOFILE of the service";
  const auto found = static_cast<double>(facts.open_files);
  const std::string figure = limit_text(facts.open_files);
  if (expected.nofile)
    return at_least("open files", found, static_cast<double>(expected.nofile->value), figure,
                    std::to_string(expected.nofile->value), more);
  if (facts.open_files < few_files)
    return {"open files", Verdict::fail, figure, std::to_string(enough_files) + " are enough for most runs: " + more};
  if (facts.open_files < enough_files)
    return {"open files", Verdict::warn, figure, std::to_string(enough_files) + " are enough for most runs: " + more};
  return {"open files", Verdict::ok, figure, ""};
}

Check judge_locked_memory(const MachineFacts& facts) {
  const std::string figure =
      facts.locked_memory == unlimited ? "no limit" : size_text(static_cast<double>(facts.locked_memory));
  if (facts.infiniband && facts.locked_memory != unlimited)
    return {"locked memory", Verdict::fail, figure,
            "InfiniBand pins the buffers of every connection: set memlock to unlimited in /etc/security/limits.conf"};
  return {"locked memory", Verdict::ok, figure, ""};
}

Check judge_shared_memory(const MachineFacts& facts, const Expectation& expected) {
  const std::string advice = "mount /dev/shm larger (docker: --shm-size, Kubernetes: an emptyDir of medium Memory)";
  if (!facts.shm) return {"shared memory", facts.gpus ? Verdict::fail : Verdict::warn, "there is no /dev/shm", advice};
  const std::string figure = size_text(static_cast<double>(*facts.shm)) + ", " +
                             size_text(static_cast<double>(facts.shm_free.value_or(0))) + " free";
  if (expected.shared_memory)
    return at_least("shared memory", static_cast<double>(*facts.shm),
                    static_cast<double>(expected.shared_memory->value), figure,
                    size_text(static_cast<double>(expected.shared_memory->value)), advice);
  if (facts.gpus && facts.shm_free.value_or(0) < enough_shm)
    return {"shared memory", Verdict::warn, figure, "NCCL talks through it within a machine: " + advice};
  return {"shared memory", Verdict::ok, figure, ""};
}

Check judge_host_memory(const MachineFacts& facts, const Expectation& expected) {
  const std::string figure =
      size_text(static_cast<double>(facts.memory)) + ", " + size_text(static_cast<double>(facts.memory_free)) + " free";
  if (expected.memory)
    return at_least("memory", static_cast<double>(facts.memory), static_cast<double>(expected.memory->value), figure,
                    size_text(static_cast<double>(expected.memory->value)),
                    "another machine, or a higher limit of the container");
  if (facts.memory_free < enough_memory)
    return {"memory", Verdict::warn, figure,
            "checkpoints are staged in it (`check` says how much): end other programs"};
  return {"memory", Verdict::ok, figure, ""};
}

} // namespace

std::optional<std::int64_t> meminfo_value(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key + ":")) continue;
    const std::size_t digit = line.find_first_of("0123456789", key.size());
    const auto kilobytes = digit == std::string::npos ? std::nullopt : leading_number(line.substr(digit));
    if (kilobytes) return *kilobytes * 1024;
  }
  return std::nullopt;
}

int count_of_list(const std::string& text) {
  int count = 0;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t dash = part.find('-');
    const auto first = leading_number(part);
    const auto last = dash == std::string::npos ? first : leading_number(part.substr(dash + 1));
    if (first && last && *last >= *first) count += static_cast<int>(*last - *first) + 1;
  }
  return count;
}

MachineFacts read_machine() {
  MachineFacts facts;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    facts.open_files = limit_value(limit.rlim_cur);
    facts.open_files_most = limit_value(limit.rlim_max);
  }
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) facts.locked_memory = limit_value(limit.rlim_cur);
  std::error_code ignored;
  facts.infiniband = std::filesystem::exists("/dev/infiniband", ignored);
  facts.gpus = std::filesystem::exists("/dev/nvidiactl", ignored);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  facts.cpus = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                   ? CPU_COUNT(&allowed)
                   : static_cast<int>(std::thread::hardware_concurrency());
  facts.numa_nodes = std::max(1, count_of_list(read_text("/sys/devices/system/node/online")));
  const std::string meminfo = read_text("/proc/meminfo");
  facts.memory = meminfo_value(meminfo, "MemTotal").value_or(0);
  facts.memory_free = meminfo_value(meminfo, "MemAvailable").value_or(0);
  const auto most = leading_number(read_text("/sys/fs/cgroup/memory.max")); // "max" where there is no limit
  if (const auto used = leading_number(read_text("/sys/fs/cgroup/memory.current")); most && *most < facts.memory) {
    facts.memory = *most;
    facts.memory_free = std::min(facts.memory_free, *most - used.value_or(0));
  }
  struct statvfs shm {};
  if (statvfs("/dev/shm", &shm) == 0) {
    facts.shm = static_cast<std::int64_t>(shm.f_blocks) * static_cast<std::int64_t>(shm.f_frsize);
    facts.shm_free = static_cast<std::int64_t>(shm.f_bavail) * static_cast<std::int64_t>(shm.f_frsize);
  }
  facts.hung_tasks = leading_number(read_text("/proc/sys/kernel/hung_task_detect_count")); // since Linux 6.13
  return facts;
}

Checks judge_machine(const MachineFacts& facts, const Expectation& expected) {
  Checks checks;
  const std::string cpus = std::to_string(facts.cpus) + ", NUMA nodes: " + std::to_string(facts.numa_nodes);
  checks.push_back(at_least("processors", facts.cpus, expected.cpus.value_or(1), cpus,
                            std::to_string(expected.cpus.value_or(1)),
                            "the launcher binds ranks to few (srun --cpus-per-task), or the container has a limit"));
  checks.push_back(judge_host_memory(facts, expected));
  checks.push_back(judge_shared_memory(facts, expected));
  checks.push_back(judge_open_files(facts, expected));
  checks.push_back(judge_locked_memory(facts));
  if (facts.hung_tasks && *facts.hung_tasks > 0)
    checks.push_back({"kernel", Verdict::warn, std::to_string(*facts.hung_tasks) + " hung tasks since it started",
                      "`dmesg` names them; a disk or a driver that did not answer for two minutes"});
  return checks;
}

} // namespace conclave::doctor
