// Terminal handling and pace.

#include "console.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace conclave::console {
namespace {

constexpr const char* erase_line = "\r\x1b[K";
constexpr const char* dim = "\x1b[2m";
constexpr const char* bold = "\x1b[1m";
constexpr const char* reset = "\x1b[0m";
// A terminal shows no more; a fast CPU run makes hundreds of steps a second.
constexpr std::chrono::milliseconds redraw_interval{100};
constexpr double smoothing = 0.05; // weight of the newest step in the pace

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool speaks_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = environment(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
  }
  return false;
}

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .choice("style", &Options::style, {{"auto", Style::automatic}, {"bar", Style::bar}, {"plain", Style::plain}})
      .affects(Affects::io)
      .doc("A progress line that redraws itself, plain lines, or by what the stream is connected to.")
      .choice("stream", &Options::stream, {{"stdout", Stream::standard_output}, {"stderr", Stream::standard_error}})
      .affects(Affects::io)
      .doc("Where to write.")
      .opt("every", &Options::every)
      .at_least(0)
      .affects(Affects::io)
      .doc("Plain lines: one for every so many steps; 0 = by time alone.")
      .opt("interval", &Options::interval)
      .at_least(0)
      .affects(Affects::io)
      .doc("Plain lines: one when so much time has passed since the last, whichever comes first; 0 = by steps alone.")
      .build();
}

Console::Console(HostContext&, const Options& options)
    : options_(options), descriptor_(options.stream == Stream::standard_output ? STDOUT_FILENO : STDERR_FILENO) {}

Status Console::start(const RunInfo& run) {
  quiet_ = run.quiet;
  if (quiet_) return {};
  const bool terminal = ::isatty(descriptor_) == 1 && environment("TERM") != "dumb";
  bar_ = options_.style == Style::bar || (options_.style == Style::automatic && terminal);
  colour_ = terminal && environment("NO_COLOR").empty();
  unicode_ = speaks_utf8();
  first_step_ = progress_.step = run.first_step;
  progress_.total = run.total_steps;
  std::string line = run.name + ": " + std::to_string(run.total_steps) + " steps";
  if (run.first_step > 0) line += ", from step " + std::to_string(run.first_step);
  if (run.parameters > 0) line += ", " + short_number(static_cast<double>(run.parameters)) + " parameters";
  if (run.active_parameters > 0 && run.active_parameters != run.parameters)
    line += " (" + short_number(static_cast<double>(run.active_parameters)) + " active)";
  // A console that nobody reads any more is no reason not to train: the first report's error switches this monitor off.
  (void)write_line((colour_ ? bold : "") + line + (colour_ ? reset : ""));
  return {};
}

void Console::update_rates(const StepReport& report) {
  progress_.step = report.step;
  const double seconds = report.value("step_seconds", 0);
  if (!std::isfinite(seconds) || seconds <= 0) return;
  const double tokens = seconds * report.value("tokens_per_second", 0);
  // The first step of an attempt warms caches and allocators: it does not foretell the others.
  const bool settled = report.step > first_step_ + 1;
  const double weight = seconds_ > 0 && report.step > first_step_ + 2 ? smoothing : 1;
  seconds_ += weight * (seconds - seconds_);
  tokens_ += weight * (tokens - tokens_);
  // One pace for both, so that the tokens that are left over the rate are the time that is left.
  progress_.tokens_per_second = tokens_ / seconds_;
  progress_.seconds_left = settled ? seconds_ * static_cast<double>(progress_.total - progress_.step) : -1;
}

bool Console::plain_due(std::int64_t step, Clock::time_point now) const {
  if (!shown_ || step >= progress_.total) return true;
  if (options_.every.value > 0 && step % options_.every.value == 0) return true;
  return options_.interval.value > 0 &&
         std::chrono::duration<double>(now - last_shown_).count() >= options_.interval.value;
}

Status Console::step(const StepReport& report) {
  if (quiet_) return {};
  update_rates(report);
  const auto now = Clock::now();
  if (!bar_) {
    if (!plain_due(report.step, now)) return {};
    shown_ = true;
    last_shown_ = now;
    return write_line(plain_line(report, progress_));
  }
  last_bar_ = progress_line(report, progress_, width(), unicode_);
  if (shown_ && report.step < progress_.total && now - last_shown_ < redraw_interval) return {};
  shown_ = true;
  last_shown_ = now;
  drawn_ = true;
  return write(erase_line + last_bar_);
}

Status Console::evaluation(const EvaluationReport& report) {
  if (quiet_) return {};
  erase_bar();
  return write(evaluation_table(report));
}

Status Console::checkpoint(std::int64_t step, const std::string& path) {
  if (quiet_) return {};
  erase_bar();
  return write_line((colour_ ? dim : "") + ("checkpoint of step " + std::to_string(step) + ": " + path) +
                    (colour_ ? reset : ""));
}

Status Console::finish(int) {
  if (!bar_ || last_bar_.empty()) return {};
  // The last state stays on the screen.
  return write((drawn_ ? erase_line : "") + last_bar_ + "\n");
}

void Console::erase_bar() {
  if (drawn_) (void)write(erase_line);
  drawn_ = false;
}

Status Console::write_line(const std::string& line) { return write(line + "\n"); }

Status Console::write(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return {}; // a slow terminal: a lost redraw is better than a held-up run
    if (written < 0)
      return storage_error("cannot write to the console: " + std::generic_category().message(errno),
                           "check where its output goes");
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::size_t Console::width() const {
  struct winsize size {};
  if (::ioctl(descriptor_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string columns(environment("COLUMNS"));
  const long given = std::strtol(columns.c_str(), nullptr, 10);
  return given >= 20 && given <= 1000 ? static_cast<std::size_t>(given) : 80;
}

} // namespace conclave::console

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::console::Console, conclave::console::Options>(
    {.id = "monitor/console",
     .version = "1.0.0",
     .summary = "A progress line on a terminal, plain lines elsewhere, and a table for each evaluation.",
     .licence = "MIT"},
    conclave::console::option_table()))
