// Trace: what a rank did when, in the Chrome trace format, which Perfetto and chrome://tracing open.
//
// Times are those of the system's clock at the start plus a steady clock since, so the ranks of one machine share an axis, and
// those of several machines as far as their clocks agree. A rank is a process of the trace; its lanes are the host's phases,
// the passes of a step, and one for each group of ranks.
//
// Off, it costs one branch. Threading: add() from any thread; the rest from one.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

class Trace {
 public:
  using Clock = std::chrono::steady_clock;
  /// `steps`: how many to record; 0 = all.
  Trace(bool on, std::int64_t steps) : on_(on), steps_(steps) {}

  class Span {
   public:
    Span(Trace& trace, const char* name) : trace_(trace), name_(name), begin_(Clock::now()) {}
    ~Span() { trace_.add("host", name_, begin_, Clock::now()); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace& trace_;
    const char* name_;
    Clock::time_point begin_;
  };
  /// A phase of the host: measures until the returned object dies.
  [[nodiscard]] Span span(const char* name) { return {*this, name}; }
  /// What follows belongs to that step, the n-th of this attempt (from 0).
  void enter_step(std::int64_t step, std::int64_t n) {
    step_ = step;
    recording_ = steps_ == 0 || n < steps_;
  }
  [[nodiscard]] bool on() const { return on_; }
  void add(const std::string& lane, std::string name, Clock::time_point begin, Clock::time_point end);
  Status write(const std::filesystem::path& file, int rank) const;
  /// Joins trace.<rank>.json of `ranks` ranks in `directory` into trace.json; files that are missing are left out.
  static Status merge(const std::filesystem::path& directory, int ranks);

 private:
  struct Event {
    std::string lane, name;
    std::int64_t step;
    Clock::time_point begin, end;
  };
  bool on_;
  std::int64_t steps_;
  std::int64_t step_ = 0;
  bool recording_ = true;
  Clock::time_point start_ = Clock::now();
  std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

} // namespace conclave
