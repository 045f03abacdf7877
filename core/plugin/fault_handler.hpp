// FaultHandler: the last line of a crashing process names the plugin and the call it was in.
//
// What this is: handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT that print the faulting thread's breadcrumb
// (guard.hpp) and raise the signal again, so that the exit status and the core file stay those of the crash. What this is
// not: recovery; a process that faulted ends. Not installed where a sanitizer has its own handlers.
//
// Threading: install once from main() before threads start. The handler itself is async-signal-safe: write() and local
// storage only. A thread without an alternate stack still reports every fault but its own stack overflow.
#pragma once

#include <cstddef>
#include <memory>

namespace conclave {

class FaultHandler {
 public:
  /// Installs the handlers, with an alternate stack for the calling thread.
  FaultHandler();
  /// Restores what was there before.
  ~FaultHandler();
  FaultHandler(const FaultHandler&) = delete;
  FaultHandler& operator=(const FaultHandler&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

} // namespace conclave
