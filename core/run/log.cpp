// Logger over spdlog: one console sink that gets out of a progress bar's way, one file sink.

#include "run/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <string>

namespace conclave {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// On a terminal a line first erases what a progress bar left on the current one.
class ConsoleSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  ConsoleSink() : terminal_(isatty(STDERR_FILENO) == 1) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (terminal_) std::fputs("\r\033[K", stderr);
    if (message.level == spdlog::level::warn) std::fputs("warning: ", stderr);
    if (message.level == spdlog::level::err) std::fputs("error: ", stderr);
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }

 private:
  bool terminal_;
};

} // namespace

struct Logger::Impl {
  spdlog::logger log{"conclave"};
};

Logger::Logger(bool quiet, int rank, bool named) : impl_(std::make_unique<Impl>()) {
  auto console = std::make_shared<ConsoleSink>();
  console->set_pattern(rank != 0 && named ? "[rank " + std::to_string(rank) + "] %v" : "%v");
  console->set_level(quiet || rank != 0 ? spdlog::level::warn : spdlog::level::info);
  impl_->log.sinks().push_back(console);
  impl_->log.set_level(spdlog::level::debug);
  impl_->log.flush_on(spdlog::level::info); // there are few lines, and a killed run has to have said them
}

Logger::~Logger() { flush(); }

Status Logger::add_file(const std::filesystem::path& file) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string(), false);
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    impl_->log.sinks().push_back(sink);
    return {};
  } catch (const std::exception& e) {
    return storage_error(e.what(), "check that the folder can be written", file.string());
  }
}

void Logger::write(LogLevel level, std::string_view who, std::string_view text) noexcept {
  try {
    std::string line;
    if (!who.empty()) line.append(who).append(": ");
    line.append(text);
    impl_->log.log(to_spdlog(level), line);
  } catch (...) {
    // A log line that cannot be written must not end a run.
  }
}

void Logger::flush() noexcept {
  try {
    impl_->log.flush();
  } catch (...) {
  }
}

} // namespace conclave
