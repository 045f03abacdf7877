// RunDirectoryLock: one run at a time in a run directory.
//
// A flock on `<run>/.lock`, which the kernel gives up when the process dies, however it dies; the file's text (host and
// process) only serves the refusal's message. On network file systems flock holds between machines where the server
// supports it; where it is not supported at all, the lock is refused rather than pretended.
//
// Threading: one object, one thread. The lock belongs to the process and is not inherited by programs that it starts.
#pragma once

#include <filesystem>

#include "conclave/status.hpp"

namespace conclave {

class RunDirectoryLock {
 public:
  /// Makes the folder when it is missing. Code::storage names the owner when another process holds it, and the folder when
  /// it cannot be written.
  static Result<RunDirectoryLock> acquire(const std::filesystem::path& run_directory);

  RunDirectoryLock(RunDirectoryLock&& other) noexcept;
  RunDirectoryLock& operator=(RunDirectoryLock&& other) noexcept;
  ~RunDirectoryLock(); ///< gives it up; the file stays, because removing it would race with a process that just opened it

 private:
  explicit RunDirectoryLock(int descriptor) noexcept : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

} // namespace conclave
