// GPUs as the driver's management library (NVML) sees them, and what is wrong with them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"

namespace conclave::doctor {

/// What the driver did not tell, or what this GPU does not have, is nothing.
struct Gpu {
  std::string name;
  std::int64_t memory = 0, memory_free = 0;        ///< bytes
  std::optional<bool> ecc;                         ///< on
  std::optional<std::uint64_t> uncorrected;        ///< memory errors since the driver was loaded
  std::optional<bool> retirement_pending;          ///< a page goes out of use at the next reset
  std::optional<bool> remap_pending, remap_failed; ///< of rows
  std::optional<int> clock, clock_most;            ///< of the SMs, MHz
  std::optional<int> temperature;                  ///< of the chip, degrees Celsius
  std::optional<std::uint64_t> slowdowns;          ///< bits of NVML's reasons for a lower clock (gpus.cpp)
  int links_on = 0, links_off = 0;                 ///< NVLinks
  double link_rate = 0;          ///< bytes a second of those that are on together, in one direction; 0: not known
  std::uint64_t link_errors = 0; ///< that made a link start again
};

struct GpuFacts {
  bool driver = false;        ///< its device files are there
  std::string error;          ///< why NVML could not be asked; "" when it could
  std::string driver_version; ///< "580.65.06"
  int driver_cuda = 0;        ///< the newest CUDA that it serves: 13000 is 13.0
  std::vector<Gpu> gpus;
  /// By GPU, whether it can reach the memory of each; empty: not known.
  std::vector<std::vector<bool>> peers;
};

GpuFacts read_gpus();
/// `built_cuda`: "13.0". `needed_memory`: bytes that an experiment takes of a GPU; 0: not known.
Checks judge_gpus(const GpuFacts& facts, const std::string& built_cuda, std::int64_t needed_memory,
                  const Expectation& expected);

} // namespace conclave::doctor
