// StopSignal: SIGTERM, SIGUSR1, SIGINT and SIGHUP become a stop request that the run answers at its next step boundary.
//
// The first signal asks; a second one ends the process at once with 128 + its number. The same one within a second, and a
// SIGHUP, is still the first request. A signal that was ignored before
// (nohup) stays ignored. SIGPIPE is ignored: a closed pipe is an error of the write. Installed once, by the run verb, before
// worker threads start.
//
// Threading: the handler writes one byte to a pipe; a thread of this object turns it into a std::stop_source.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "conclave/status.hpp"

namespace conclave {

class StopSignal {
 public:
  static Result<std::unique_ptr<StopSignal>> install();
  ~StopSignal(); ///< restores the previous handlers
  [[nodiscard]] std::stop_token token() const;
  /// "SIGTERM" and so on; "" before any came.
  [[nodiscard]] std::string name() const;

 private:
  StopSignal();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace conclave
