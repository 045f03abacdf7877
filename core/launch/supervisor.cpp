// fork, exec, and one poll loop over the ranks' output and our signals.

#include "launch/supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string_view>

#include "io/file_handle.hpp"
#include "launch/rendezvous.hpp"
#include "launch/store.hpp"

extern char** environ; // NOLINT: POSIX has no header for it

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array passed_on = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};
constexpr std::chrono::milliseconds kill_lost_after =
    std::chrono::seconds(3);                  // a stopped process does not answer SIGTERM
constexpr std::size_t longest_line = 1 << 16; // what has no end of line by then is printed as it is

/// In one piece: rank 0 writes there too. A console that is gone is no reason to end the run.
void write_line(const std::string& text) {
  const std::string line = text + '\n';
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t written = ::write(STDERR_FILENO, line.data() + at, line.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    at += static_cast<std::size_t>(written);
  }
}

void say(const std::string& text) { write_line("conclave: " + text); }

/// Blocks the signals that are passed on and SIGCHLD, and reads them instead.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : passed_on) {
      // What the caller had ignored stays so: nohup's SIGHUP, the SIGINT of a shell's background job.
      struct sigaction present {};
      sigaction(number, nullptr, &present);
      if (present.sa_handler != SIG_IGN) sigaddset(&set, number);
    }
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = FileHandle(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const sigset_t& before() const { return before_; }
  /// The next one that came; 0 when there is none.
  [[nodiscard]] int take() const {
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_{};
  FileHandle fd_;
};

struct Child {
  int rank = 0;
  pid_t pid = -1; ///< -1 when it has ended
  FileHandle output;
  std::string line; ///< the part of a line that has come
};

int cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/// This process's environment with a rank's variables in it.
std::vector<std::string> environment(const SupervisorSettings& settings, int rank, int port, const std::string& id) {
  std::vector<std::pair<std::string, std::string>> own{{"CONCLAVE_RANK", std::to_string(rank)},
                                                       {"CONCLAVE_WORLD_SIZE", std::to_string(settings.ranks)},
                                                       {"CONCLAVE_LOCAL_RANK", std::to_string(rank)},
                                                       {"CONCLAVE_LOCAL_WORLD_SIZE", std::to_string(settings.ranks)},
                                                       {"MASTER_ADDR", "127.0.0.1"},
                                                       {"MASTER_PORT", std::to_string(port)},
                                                       {"CONCLAVE_RENDEZVOUS_ID", id}};
  if (std::getenv("OMP_NUM_THREADS") == nullptr)
    own.emplace_back("OMP_NUM_THREADS", std::to_string(std::max(1, cores() / settings.ranks)));
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string_view name = text.substr(0, text.find('='));
    if (std::none_of(own.begin(), own.end(), [name](const auto& one) { return one.first == name; }))
      all.emplace_back(text);
  }
  for (const auto& [name, value] : own) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// Not posix_spawn: only code of the child can ask for its death with the parent's.
pid_t start(std::vector<std::string> command, std::vector<std::string> variables, int output, const sigset_t& mask) {
  const std::vector<char*> arguments = pointers(command), environment = pointers(variables);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  // From here on: async-signal-safe calls only, since the store has threads.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::setpgid(0, 0); // a terminal's Ctrl-C comes here, once, and is passed on
  if (output >= 0 && (::dup2(output, STDOUT_FILENO) < 0 || ::dup2(output, STDERR_FILENO) < 0)) ::_exit(1);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execve(arguments[0], arguments.data(), environment.data());
  ::_exit(127);
}

class Supervisor {
 public:
  explicit Supervisor(const SupervisorSettings& settings) : settings_(settings) {}

  ~Supervisor() {
    for (const Child& child : children_)
      if (child.pid > 0) ::kill(-child.pid, SIGKILL);
    for (Child& child : children_)
      if (child.pid > 0) ::waitpid(child.pid, nullptr, 0);
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  int run() {
    auto server = StoreServer::start({"127.0.0.1", 0}, false, id_);
    if (!server.ok()) {
      say(server.error().render());
      return exit_code(server.error().code);
    }
    port_ = (*server)->port();
    for (int rank = 0; rank < settings_.ranks; ++rank)
      if (!start_rank(rank, (*server)->port())) return exit_code(Code::unsupported);
    while (alive() > 0) turn();
    for (Child& child : children_) {
      while (read_some(child)) {
      }
      flush(child);
    }
    return outcome();
  }

 private:
  bool start_rank(int rank, int port) {
    std::array<int, 2> ends{-1, -1};
    if (rank > 0 && ::pipe2(ends.data(), O_CLOEXEC) != 0) {
      say(std::string("no pipe for a rank: ") + std::strerror(errno));
      return false;
    }
    Child child{rank, -1, FileHandle(ends[0]), {}};
    const FileHandle write_end(ends[1]);
    if (child.output) ::fcntl(child.output.get(), F_SETFL, O_NONBLOCK);
    child.pid = start(settings_.command, environment(settings_, rank, port, id_), write_end.get(), signals_.before());
    if (child.pid < 0) {
      say("rank " + std::to_string(rank) + " cannot be started: " + std::strerror(errno));
      return false;
    }
    ::setpgid(child.pid, child.pid); // in the child too: whoever comes first
    children_.push_back(std::move(child));
    return true;
  }

  [[nodiscard]] std::size_t alive() const {
    return static_cast<std::size_t>(
        std::count_if(children_.begin(), children_.end(), [](const Child& child) { return child.pid > 0; }));
  }

  /// Waits for something and does what is due.
  void turn() {
    std::vector<pollfd> polls{{signals_.fd(), POLLIN, 0}};
    for (const Child& child : children_) polls.push_back({child.output.get(), POLLIN, 0}); // -1 is passed over
    int wait = -1;
    if (deadline_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now());
      wait = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
    }
    if (::poll(polls.data(), polls.size(), wait) < 0 && errno != EINTR) return;
    for (std::size_t i = 0; i < children_.size(); ++i)
      if (polls[i + 1].revents != 0) read_some(children_[i]);
    while (const int number = signals_.take())
      if (number != SIGCHLD) send_all(number, false);
    reap();
    if (deadline_ && Clock::now() >= *deadline_) {
      send_all(terminating_ ? SIGKILL : SIGTERM, terminating_);
      terminating_ = true;
      deadline_ = Clock::now() + (verdict_ ? std::min(settings_.kill_after, kill_lost_after) : settings_.kill_after);
    }
  }

  void send_all(int number, bool groups) const {
    for (const Child& child : children_)
      if (child.pid > 0) ::kill(groups ? -child.pid : child.pid, number);
  }

  void reap() {
    for (Child& child : children_) {
      int status = 0;
      if (child.pid <= 0 || ::waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
      const pid_t pid = std::exchange(child.pid, -1);
      std::string end; // of a rank that ended badly
      bool bad = true;
      if (WIFSIGNALED(status)) {
        killed_ = true;
        const int number = WTERMSIG(status);
        const char* name = sigabbrev_np(number);
        end = "rank " + std::to_string(child.rank) + " (process " + std::to_string(pid) + ") was killed by SIG" +
              (name != nullptr ? name : std::to_string(number)) + " (" + strsignal(number) + ")";
        say(end);
      } else {
        const int code = WEXITSTATUS(status);
        codes_.push_back(code);
        bad = code != 0 && code != exit_code(Code::stopped);
        end = "rank " + std::to_string(child.rank) + " ended with exit code " + std::to_string(code);
        if (code == 127)
          say("rank " + std::to_string(child.rank) + " did not start: is " + settings_.command.front() + " a program?");
      }
      if (bad && !deadline_) tell_who_meets(end); // the first: the others' ends follow from it
      if (bad && !deadline_) deadline_ = Clock::now() + settings_.grace;
      if (bad && !terminating_ && !codes_.empty() && codes_.back() == exit_code(Code::peer_lost)) {
        verdict_ = true;
        deadline_ = std::min(*deadline_, Clock::now() + settings_.grace_after_verdict);
      }
    }
  }

  /// Ranks that have met have the watchdog; those that still wait for this one would wait long.
  void tell_who_meets(const std::string& end) const {
    const auto store = Store::connect({"127.0.0.1", port_}, rendezvous_prefix(id_), std::chrono::seconds(1));
    if (store.ok()) static_cast<void>((*store)->set(died_key, end));
  }

  /// False when there is nothing to read now.
  bool read_some(Child& child) {
    if (!child.output) return false;
    std::array<char, 16384> buffer;
    const ssize_t count = ::read(child.output.get(), buffer.data(), buffer.size());
    if (count < 0) return errno == EINTR;
    if (count == 0) {
      child.output.reset();
      return false;
    }
    child.line.append(buffer.data(), static_cast<std::size_t>(count));
    for (std::size_t end = 0; (end = child.line.find('\n')) != std::string::npos; child.line.erase(0, end + 1))
      print(child.rank, child.line.substr(0, end));
    if (child.line.size() >= longest_line) flush(child);
    return true;
  }

  static void flush(Child& child) {
    if (!child.line.empty()) print(child.rank, child.line);
    child.line.clear();
  }

  static void print(int rank, const std::string& line) { std::fprintf(stderr, "[rank %d] %s\n", rank, line.c_str()); }

  [[nodiscard]] int outcome() const {
    const auto has = [this](auto&& wanted) { return std::find_if(codes_.begin(), codes_.end(), wanted); };
    if (const auto first = has([](int code) { return code >= 1 && code <= 5; }); first != codes_.end()) return *first;
    const int lost = exit_code(Code::peer_lost), stopped = exit_code(Code::stopped);
    if (killed_ || has([&](int code) { return code == lost; }) != codes_.end()) return lost;
    if (has([&](int code) { return code != 0 && code != stopped; }) != codes_.end()) return exit_code(Code::internal);
    return has([&](int code) { return code == stopped; }) != codes_.end() ? stopped : 0;
  }

  static std::string new_id() {
    std::random_device random;
    return std::to_string(::getpid()) + "-" + std::to_string(random());
  }

  const SupervisorSettings& settings_;
  const std::string id_ = new_id();
  int port_ = 0;    ///< of the store
  Signals signals_; // before the store's threads, which inherit the mask
  std::vector<Child> children_;
  std::vector<int> codes_; ///< of the ranks that exited, the first to end first
  bool killed_ = false;
  bool terminating_ = false;
  bool verdict_ = false;                      ///< a rank ended because another one is lost
  std::optional<Clock::time_point> deadline_; ///< of the next step towards SIGKILL
};

} // namespace

int supervise(const SupervisorSettings& settings) { return Supervisor(settings).run(); }

} // namespace conclave
