// Storage: how fast a folder takes and gives back what is synced, and what is free there.
//
// Bounded: at most `StorageLimits::bytes` are written, and nothing new is begun after `seconds`, which hold for writing, for
// syncs and for reading each. What a file system does within one call is beyond our reach: whoever calls this on a disk that
// may not answer does so in a process of its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"

namespace conclave::doctor {

/// One file, written from its front and read back. Tests put a slow or a broken one in its place.
class ProbeFile {
 public:
  virtual ~ProbeFile();
  virtual Status append(std::span<const std::byte> data) = 0;
  virtual Status sync() = 0;
  /// Fills `out` from `offset`, from the disk as far as the machine can be made to.
  virtual Status read(std::int64_t offset, std::span<std::byte> out) = 0;
};

/// A file without a name in `folder`: it is gone when the object or the process is. While it writes, SIGXFSZ is ignored in this process.
Result<std::unique_ptr<ProbeFile>> open_probe_file(const std::filesystem::path& folder);

struct StorageLimits {
  std::int64_t bytes = 256 << 20;
  double seconds = 10;
};

struct StorageFacts {
  std::optional<Error> error;           ///< the first; what was not measured is 0
  std::int64_t written = 0;             ///< bytes
  double write_rate = 0, read_rate = 0; ///< bytes a second; writing is synced
  double sync_seconds = 0;              ///< of 4 KiB, the median
  bool damaged = false;                 ///< other bytes came back
  std::int64_t free = 0, size = 0;      ///< of the file system
};

StorageFacts measure_storage(ProbeFile& file, const StorageLimits& limits);
/// The same for a folder, with what is free there.
StorageFacts read_storage(const std::filesystem::path& folder, const StorageLimits& limits);

/// `needed`: bytes that an experiment will ask for; 0: not known.
Checks judge_storage(const StorageFacts& facts, const std::filesystem::path& folder, std::int64_t needed,
                     const Expectation& expected);

} // namespace conclave::doctor
