// The machine without its GPUs: limits of a process, memory, processors, /dev/shm, what the kernel complains of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"

namespace conclave::doctor {

struct MachineFacts {
  std::uint64_t open_files = 0, open_files_most = 0; ///< soft and hard limit; UINT64_MAX: none
  std::uint64_t locked_memory = 0;                   ///< bytes, soft; UINT64_MAX: no limit
  bool infiniband = false;                           ///< there is a card
  bool gpus = false;                                 ///< there is a driver
  int cpus = 0;                                      ///< that this process may use
  int numa_nodes = 0;
  std::int64_t memory = 0, memory_free = 0;  ///< bytes; of the container where that is less
  std::optional<std::int64_t> shm, shm_free; ///< of /dev/shm
  std::optional<std::int64_t> hung_tasks;    ///< since the machine started, where the kernel counts them
};

MachineFacts read_machine();
Checks judge_machine(const MachineFacts& facts, const Expectation& expected);

/// Bytes of a line such as `MemTotal:  16384 kB` of /proc/meminfo.
std::optional<std::int64_t> meminfo_value(const std::string& text, const std::string& key);
/// How many numbers there are in a list such as "0-3,8".
int count_of_list(const std::string& text);

} // namespace conclave::doctor
