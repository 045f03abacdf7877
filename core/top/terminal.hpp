// Terminal: the whole window, its size and its keys, given back as it was at the end.
//
// Threading: the main thread; SIGINT, SIGTERM, SIGHUP, SIGTSTP and SIGWINCH are blocked while it lives and answered by wait().
#pragma once

#include <termios.h>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "io/file_handle.hpp"
#include "top/frame.hpp"

namespace conclave::top {

class Terminal {
 public:
  /// Precondition: standard input and output are terminals.
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void show(const std::vector<std::string>& lines) const;
  /// Returns false when the user or a signal wants the end, true when `limit` is over or the window has another size.
  [[nodiscard]] bool wait(std::chrono::milliseconds limit) const;

 private:
  termios before_{};
  sigset_t mask_before_{};
  FileHandle signals_;
};

/// Of the terminal at standard output; 80 x 24 when it does not say.
FrameSize terminal_size();

} // namespace conclave::top
