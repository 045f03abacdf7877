// Logger: lines to the rank's log file and, on rank 0, to stderr. The only place that knows spdlog.
//
// Threading: every function may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "conclave/host.hpp"
#include "conclave/status.hpp"

namespace conclave {

class Logger {
 public:
  /// Console only; `quiet` keeps info lines off it, warnings and errors stay. Of other ranks than 0 only these are shown, with
  /// `[rank n]` before them where `named`.
  explicit Logger(bool quiet, int rank = 0, bool named = true);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  /// From now on also writes to that file (appended).
  Status add_file(const std::filesystem::path& file);
  /// `who` is a plugin id, or "" for the host.
  void write(LogLevel level, std::string_view who, std::string_view text) noexcept;
  void info(std::string_view text) noexcept { write(LogLevel::info, {}, text); }
  void warning(std::string_view text) noexcept { write(LogLevel::warning, {}, text); }
  void flush() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace conclave
