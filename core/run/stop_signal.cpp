// The self-pipe behind StopSignal.

#include "run/stop_signal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <thread>

namespace conclave {
namespace {

constexpr std::array<int, 4> handled = {SIGTERM, SIGUSR1, SIGINT, SIGHUP};

// A signal handler can reach nothing but globals; these two are lock-free and written by install() and the handler alone.
std::atomic<int> pipe_end{-1};
std::atomic<int> first_signal{0};
std::atomic<std::int64_t> first_time{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

constexpr std::int64_t one_request = 1'000'000'000; // nanoseconds

std::int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

extern "C" void on_signal(int number) {
  int first = 0;
  if (!first_signal.compare_exchange_strong(first, number)) {
    // One request may come twice: timeout(1) tells the process and then its group, and of a terminal that goes away both
    // the shell and the kernel tell.
    if (number == SIGHUP || (number == first && now() - first_time.load() < one_request)) return;
    _exit(128 + number);
  }
  first_time = now();
  const int saved = errno;
  const char byte = 1;
  [[maybe_unused]] const auto written = write(pipe_end.load(), &byte, 1);
  errno = saved;
}

} // namespace

struct StopSignal::Impl {
  int read_end = -1, write_end = -1;
  std::array<struct sigaction, handled.size()> previous{};
  struct sigaction previous_pipe {};
  std::stop_source source;
  std::thread waiter;
};

StopSignal::StopSignal() : impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<StopSignal>> StopSignal::install() {
  std::unique_ptr<StopSignal> self(new StopSignal());
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    return internal_error(std::string("no pipe for signals: ") + std::strerror(errno));
  self->impl_->read_end = ends[0];
  self->impl_->write_end = ends[1];
  pipe_end = ends[1];
  first_signal = 0;
  for (std::size_t i = 0; i < handled.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(handled[i], nullptr, &self->impl_->previous[i]);
    // What the caller had ignored stays so: nohup's SIGHUP, the SIGINT of a shell's background job.
    if (self->impl_->previous[i].sa_handler != SIG_IGN) sigaction(handled[i], &action, nullptr);
  }
  // A reader of our output that goes away is an error of that write, not the end of the run.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigemptyset(&ignore.sa_mask);
  sigaction(SIGPIPE, &ignore, &self->impl_->previous_pipe);
  self->impl_->waiter = std::thread([impl = self->impl_.get()] {
    char byte = 0;
    while (read(impl->read_end, &byte, 1) < 0 && errno == EINTR) {
    }
    if (byte == 1) impl->source.request_stop();
  });
  return self;
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < handled.size(); ++i) sigaction(handled[i], &impl_->previous[i], nullptr);
  sigaction(SIGPIPE, &impl_->previous_pipe, nullptr);
  if (impl_->waiter.joinable()) {
    const char byte = 0; // wakes the waiter without a request
    [[maybe_unused]] const auto written = write(impl_->write_end, &byte, 1);
    impl_->waiter.join();
  }
  pipe_end = -1;
  if (impl_->read_end >= 0) close(impl_->read_end);
  if (impl_->write_end >= 0) close(impl_->write_end);
}

std::stop_token StopSignal::token() const { return impl_->source.get_token(); }

std::string StopSignal::name() const {
  switch (first_signal.load()) {
    case SIGTERM: return "SIGTERM";
    case SIGUSR1: return "SIGUSR1";
    case SIGINT: return "SIGINT";
    case SIGHUP: return "SIGHUP";
    default: return {};
  }
}

} // namespace conclave
