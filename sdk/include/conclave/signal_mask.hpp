// SignalMask: threads made under it take no signals. The run's signals (stop, checkpoint) belong to the host's main thread;
// a plugin that starts threads, or whose library does, makes one of these around it.
#pragma once

#include <csignal>

namespace conclave {

/// Blocks every signal in the calling thread while it lives; threads made meanwhile inherit that. A write beyond the limit
/// of a file's size then is an error (EFBIG) instead of SIGXFSZ.
class SignalMask {
 public:
  SignalMask() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalMask() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalMask(const SignalMask&) = delete;
  SignalMask& operator=(const SignalMask&) = delete;

 private:
  sigset_t before_;
};

} // namespace conclave
