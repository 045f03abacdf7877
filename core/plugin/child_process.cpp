// posix_spawn, poll, and a deadline that each line may move.

#include "plugin/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

extern char** environ; // NOLINT: POSIX has no header for it

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;

class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) read_ = ends[0], write_ = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  [[nodiscard]] bool ok() const { return read_ >= 0; }
  [[nodiscard]] int read_end() const { return read_; }
  [[nodiscard]] int write_end() const { return write_; }
  void close_read() { close(read_); }
  void close_write() { close(write_); }

 private:
  static void close(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int read_ = -1, write_ = -1;
};

struct FileActions {
  posix_spawn_file_actions_t value;
  FileActions() { posix_spawn_file_actions_init(&value); }
  ~FileActions() { posix_spawn_file_actions_destroy(&value); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() { posix_spawnattr_init(&value); }
  ~Attributes() { posix_spawnattr_destroy(&value); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
};

/// Waits for the child that we spawned; whatever happens in between, the group is killed and reaped.
class OwnedChild {
 public:
  explicit OwnedChild(pid_t pid) : pid_(pid) {}
  ~OwnedChild() {
    if (pid_ > 0) end();
  }
  OwnedChild(const OwnedChild&) = delete;
  OwnedChild& operator=(const OwnedChild&) = delete;
  void kill_group() const { ::kill(-pid_, SIGKILL); }
  int end() {
    kill_group(); // a child that ended keeps its status; grandchildren must not stay
    return wait();
  }
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  /// True when it has ended; its status stays to be collected.
  [[nodiscard]] bool ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  }

 private:
  pid_t pid_;
};

constexpr std::size_t errors_kept = 4096;
constexpr std::size_t longest_line = std::size_t{64} << 20; // a table of options is kilobytes

constexpr double wall_factor = 6; // seconds on the clock for each second of a limit

/// The two clocks of a limit.
class Deadline {
 public:
  explicit Deadline(pid_t pid) : known_(::clock_getcpuclockid(pid, &processor_) == 0) {}
  void set(double seconds) {
    seconds_ = seconds;
    began_ = Clock::now();
    used_ = processor_seconds();
  }
  /// True when it is over, which `outcome` then tells.
  bool over(ChildOutcome& outcome) const {
    const double elapsed = std::chrono::duration<double>(Clock::now() - began_).count();
    if (elapsed < seconds_) return false;
    const bool worked = processor_seconds() - used_ >= seconds_;
    if (!worked && elapsed < wall_factor * seconds_) return false;
    outcome.timed_out = true;
    outcome.on_the_clock = !worked;
    return true;
  }

 private:
  [[nodiscard]] double processor_seconds() const {
    timespec now{};
    if (!known_ || ::clock_gettime(processor_, &now) != 0) return 0;
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  }
  clockid_t processor_{};
  bool known_;
  double seconds_ = 0, used_ = 0;
  Clock::time_point began_;
};

} // namespace

bool ChildOutcome::from_outside() const {
  return on_the_clock || signal == SIGTERM || signal == SIGINT || signal == SIGHUP || (signal == SIGKILL && !timed_out);
}

std::string ChildOutcome::describe() const {
  if (on_the_clock) return "was not done in " + std::to_string(std::lround(wall_factor * limit_seconds)) + " s";
  if (timed_out) return "took longer than " + std::to_string(std::lround(limit_seconds)) + " s";
  if (signal != 0) {
    const char* name = sigabbrev_np(signal);
    return "ended by SIG" + std::string(name ? name : std::to_string(signal)) + " (" + strsignal(signal) + ")";
  }
  if (exit_status != 0) return "exited with " + std::to_string(exit_status);
  return {};
}

Result<ChildOutcome> run_child(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                               double first_limit_seconds, const std::function<double(const std::string& line)>& line) {
  Pipe output, errors;
  const auto refuse = [&program](int error) {
    return internal_error(std::string("cannot be started: ") + std::strerror(error), program.string());
  };
  if (!output.ok() || !errors.ok()) return refuse(errno);

  FileActions actions;
  posix_spawn_file_actions_addopen(&actions.value, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions.value, output.write_end(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions.value, errors.write_end(), STDERR_FILENO);
  Attributes attributes;
  // A host under a launcher may block signals or ignore them; the child starts with neither.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes.value, &none);
  posix_spawnattr_setsigdefault(&attributes.value, &all);
  posix_spawnattr_setpgroup(&attributes.value, 0);
  posix_spawnattr_setflags(&attributes.value, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words{program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  if (const int error = posix_spawn(&pid, program.c_str(), &actions.value, &attributes.value, argv.data(), environ))
    return refuse(error);
  OwnedChild child(pid);
  output.close_write();
  errors.close_write();

  ChildOutcome outcome;
  outcome.limit_seconds = first_limit_seconds;
  Deadline deadline(pid);
  deadline.set(first_limit_seconds);
  std::string pending;
  std::array<char, 65536> buffer{};
  bool output_open = true, errors_open = true;
  while (output_open || errors_open) {
    if (deadline.over(outcome)) break;
    std::array<pollfd, 2> polls{
        {{output_open ? output.read_end() : -1, POLLIN, 0}, {errors_open ? errors.read_end() : -1, POLLIN, 0}}};
    // Now and then look at the clocks, and at the child: a grandchild may hold the pipes open after it has ended.
    const int ready = ::poll(polls.data(), polls.size(), 100);
    if (ready < 0 && errno != EINTR) return refuse(errno);
    if (ready <= 0) {
      if (child.ended()) break;
      continue;
    }
    if (polls[0].revents != 0) {
      const ssize_t n = ::read(output.read_end(), buffer.data(), buffer.size());
      if (n <= 0) output_open = false;
      pending.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
      if (pending.size() > longest_line) break;
      for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        const double limit = line(pending.substr(0, end));
        if (limit > 0) deadline.set(limit), outcome.limit_seconds = limit;
      }
    }
    if (polls[1].revents != 0) {
      const ssize_t n = ::read(errors.read_end(), buffer.data(), buffer.size());
      if (n <= 0) errors_open = false;
      outcome.errors.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
      if (outcome.errors.size() > errors_kept) outcome.errors.erase(0, outcome.errors.size() - errors_kept);
    }
  }
  // Both pipes closed: the child is ending by itself, within its limit.
  while (!outcome.timed_out && !child.ended()) {
    if (!deadline.over(outcome)) ::usleep(1000);
  }
  const int status = child.end();
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

AnswerPipe::AnswerPipe() : parent_(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)) {
  if (parent_ < 0 || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) std::_Exit(1);
}

AnswerPipe::~AnswerPipe() { ::close(parent_); }

void AnswerPipe::say(std::string line) const {
  line += '\n';
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t n = ::write(parent_, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) std::_Exit(1);
    at += static_cast<std::size_t>(n);
  }
}

} // namespace conclave
