// Expectation: what a machine must have, from the YAML of `doctor --expect`.
//
// What is not said is not wanted: then the family's own judgement stands alone. Rates are in 10^9 or 10^6 bytes a second, as
// makers of hardware give them.
#pragma once

#include <optional>
#include <string>

#include "conclave/options.hpp"

namespace conclave::doctor {

struct Expectation {
  std::optional<int> gpus;
  std::optional<std::string> gpu_name;   ///< a part of each GPU's name
  std::optional<Bytes> gpu_memory;       ///< of each, as the driver gives it out
  std::optional<double> gpu_copy_GBps;   ///< copies within a GPU, read and write counted
  std::optional<double> nvlink_GBps;     ///< of a GPU's links together, in one direction
  std::optional<double> peer_GBps;       ///< copies from one GPU to the next
  std::optional<double> all_reduce_GBps; ///< bus bandwidth: 2 (n-1)/n of the bytes, a second
  std::optional<Bytes> storage_free;
  std::optional<double> storage_write_MBps; ///< synced
  std::optional<double> storage_read_MBps;
  std::optional<Bytes> shared_memory; ///< size of /dev/shm
  std::optional<Bytes> memory;        ///< of the machine, or of its container
  std::optional<int> cpus;            ///< that this process may use
  std::optional<Count> nofile;        ///< open files
  std::optional<Seconds> clock_skew;  ///< between two nodes, at most
};

const OptionTable& expectation_table();

/// Nothing after an error, which names the place in the file.
std::optional<Expectation> read_expectation(const std::string& path, Diagnostics& diagnostics);

} // namespace conclave::doctor
