// termios, signalfd, and the few ANSI sequences that every terminal knows.

#include "top/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>

namespace conclave::top {
namespace {

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = ::write(STDOUT_FILENO, text.data(), text.size());
    if (done <= 0) return; // it is gone; SIGHUP says so
    text.remove_prefix(static_cast<std::size_t>(done));
  }
}

} // namespace

Terminal::Terminal() {
  sigset_t ours;
  sigemptyset(&ours);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH}) sigaddset(&ours, signal);
  sigprocmask(SIG_BLOCK, &ours, &mask_before_);
  signals_ = FileHandle(::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
  tcgetattr(STDIN_FILENO, &before_);
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO); // keys one by one and unseen; ctrl-C stays a signal
  tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  write_all("\x1b[?1049h\x1b[?25l"); // a screen of our own, without a cursor
}

Terminal::~Terminal() {
  write_all("\x1b[?25h\x1b[?1049l");
  tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
}

void Terminal::show(const std::vector<std::string>& lines) const {
  std::string text = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) text += (i > 0 ? "\r\n" : "") + lines[i] + "\x1b[K";
  write_all(text + "\x1b[J");
}

bool Terminal::wait(std::chrono::milliseconds limit) const {
  std::array<pollfd, 2> sources = {{{STDIN_FILENO, POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
  if (::poll(sources.data(), sources.size(), static_cast<int>(limit.count())) <= 0) return true;
  if ((sources[1].revents & POLLIN) != 0) {
    signalfd_siginfo signal{};
    if (::read(signals_.get(), &signal, sizeof signal) == sizeof signal && signal.ssi_signo != SIGWINCH) return false;
  }
  if (sources[0].revents != 0) {
    char key = 0;
    if (::read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') return false;
  }
  return true;
}

FrameSize terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

} // namespace conclave::top
