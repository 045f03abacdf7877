// run_child(): a freshly executed program with a time limit, its output line by line.
//
// What this is: how probes and conformance cases run code that may crash, loop or print. What this is not: a sandbox; the
// child has this user's rights. The child leads a process group of its own, which is killed whole when it ends, when it
// is late, or when the caller has heard enough.
//
// A limit of s seconds is over when the child has used s seconds of processor time since the limit was set, or after
// 6 s seconds on the clock: a loop is found soon, and a busy machine makes nobody late.
//
// Threading: any thread; it polls on the calling thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

struct ChildOutcome {
  bool timed_out = false;
  bool on_the_clock = false; ///< timed_out, though it had used little processor time: it slept, or the machine was slow
  int exit_status = -1;      ///< of exit(); -1 when a signal ended it
  int signal = 0;            ///< that ended it; 0 otherwise
  std::string errors;        ///< the end of its standard error, at most 4 KiB
  /// "ended by SIGSEGV (Segmentation fault)", "took longer than 10 s", "exited with 3", or "" when it ended well.
  [[nodiscard]] std::string describe() const;
  /// True for an end that says nothing of the program itself: late on the clock, or killed by a signal from outside.
  [[nodiscard]] bool from_outside() const;
  double limit_seconds = 0; ///< the limit that was in force last
};

/// Runs `program arguments...` with an empty standard input. `line` gets each full line of its standard output and
/// returns how many seconds the child may take until its next line, or 0 to leave the present limit running.
/// An error means that the program could not be started.
Result<ChildOutcome> run_child(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                               double first_limit_seconds, const std::function<double(const std::string& line)>& line);

/// The child's end: keeps the pipe to the parent for say(), and sends what anything else in this process prints to its
/// standard output (a plugin, a static destructor) to standard error.
class AnswerPipe {
 public:
  AnswerPipe();
  ~AnswerPipe();
  AnswerPipe(const AnswerPipe&) = delete;
  AnswerPipe& operator=(const AnswerPipe&) = delete;
  /// One line. Ends the process when the parent is gone: there is nobody left to answer.
  void say(std::string line) const;

 private:
  int parent_;
};

} // namespace conclave
