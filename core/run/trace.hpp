// Trace: spans of the host's phases in the Chrome trace format, which Perfetto and chrome://tracing open.
//
// Off, it costs one branch. Threading: spans from one thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

class Trace {
 public:
  explicit Trace(bool on) : on_(on), start_(std::chrono::steady_clock::now()) {}

  class Span {
   public:
    Span(Trace& trace, const char* name, std::int64_t step)
        : trace_(trace), name_(name), step_(step), begin_(trace.now()) {}
    ~Span() { trace_.add(name_, step_, begin_); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace& trace_;
    const char* name_;
    std::int64_t step_;
    double begin_;
  };
  /// Measures until the returned object dies.
  [[nodiscard]] Span span(const char* name, std::int64_t step) { return {*this, name, step}; }
  [[nodiscard]] bool on() const { return on_; }
  Status write(const std::filesystem::path& file, int rank) const;

 private:
  struct Event {
    const char* name;
    std::int64_t step;
    double begin, end; ///< microseconds since the start
  };
  [[nodiscard]] double now() const {
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start_).count();
  }
  void add(const char* name, std::int64_t step, double begin) {
    if (on_) events_.push_back({name, step, begin, now()});
  }
  bool on_;
  std::chrono::steady_clock::time_point start_;
  std::vector<Event> events_;
};

} // namespace conclave
