// console: texts of fixed reports, and the real plugin on a pseudo-terminal and on a pipe.

#include "console.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <optional>

#include "conclave/testkit.hpp"

namespace conclave {
namespace {

using namespace console;

StepReport report_of(std::int64_t step) {
  StepReport report;
  report.step = step;
  report.metrics = {{"loss", "nats", 3.25, Reduction::mean, {}},
                    {"nll", "nats", 3.0, Reduction::mean, {}},
                    {"learning_rate", "", 1e-4, Reduction::none, {}},
                    {"grad_norm", "", 0.8512, Reduction::none, {}},
                    {"tokens_per_second", "", 12345, Reduction::sum, {}},
                    {"step_seconds", "seconds", 2, Reduction::max, {}},
                    {"applied", "", 1, Reduction::min, {}}};
  return report;
}

std::size_t columns(const std::string& text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

TEST(ConsoleText, ShortNumbersAndTimes) {
  EXPECT_EQ(short_number(950), "950");
  EXPECT_EQ(short_number(999.6), "1k");
  EXPECT_EQ(short_number(12345), "12.3k");
  EXPECT_EQ(short_number(4'560'000), "4.56M");
  EXPECT_EQ(short_number(std::nan("")), "nan");
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_time(0.4), "0s");
  EXPECT_EQ(short_time(59.6), "1m00s");
  EXPECT_EQ(short_time(3 * 3600 + 120), "3h02m");
  EXPECT_EQ(short_time(90'000), "1d01h");
  EXPECT_EQ(short_time(-1), "?");
  EXPECT_EQ(short_time(std::numeric_limits<double>::infinity()), "?");
}

TEST(ConsoleText, PlainLineHoldsEverything) {
  EXPECT_EQ(plain_line(report_of(50), {50, 100, 12345, 100}),
            "step 50/100 (50.0%)  loss 3.2500  nll 3.0000  lr 1.00e-04  grad 0.851  12.3k tok/s  ETA 1m40s");
  StepReport skipped = report_of(50);
  skipped.metrics.back().value = 0;
  skipped.metrics.push_back({"loss_scale", "", 32768, Reduction::none, {}});
  EXPECT_NE(plain_line(skipped, {50, 100, 0, -1}).find("scale 32.8k  SKIPPED  ETA ?"), std::string::npos);
  EXPECT_EQ(plain_line(StepReport{}, {0, 0, 0, -1}), "step 0/0 (0.0%)  ");
}

TEST(ConsoleText, ProgressLineNeverPassesItsWidth) {
  for (std::size_t width = 20; width < 200; ++width)
    for (const bool unicode : {false, true})
      for (const std::int64_t step : {0, 1, 37, 99, 100}) {
        const std::string line = progress_line(report_of(step), {step, 100, 12345, 10}, width, unicode);
        EXPECT_LE(columns(line), width);
        EXPECT_EQ(line.find('\n'), std::string::npos);
      }
  const std::string half = progress_line(report_of(50), {50, 100, 12345, 100}, 160, false);
  EXPECT_EQ(half.find(" 50% |" + std::string(15, '#') + std::string(15, '.') + "| 50/100  loss 3.2500"), 0u) << half;
  EXPECT_EQ(progress_line(report_of(100), {100, 100, 12345, 0}, 200, false).find("ETA"), std::string::npos);
}

TEST(ConsoleText, EvaluationTableAligns) {
  EvaluationReport report;
  report.step = 20;
  report.metrics = {{"eval_nll", "nats", 2.5, Reduction::mean, {{"domain", "encyclopedia"}}},
                    {"bits_per_byte", "", 1.25, Reduction::mean, {{"domain", "encyclopedia"}}},
                    {"eval_nll", "nats", 2.0, Reduction::mean, {{"domain", "web"}}},
                    {"eval_nll", "nats", 2.125, Reduction::mean, {}},
                    {"tokens", "tokens", 16384, Reduction::sum, {}}};
  EXPECT_EQ(evaluation_table(report),
            "evaluation after step 20\n"
            "  held-out             nll  bits_per_byte      tokens\n"
            "  encyclopedia      2.5000         1.2500            \n"
            "  web               2.0000                           \n"
            "  all               2.1250                      16384\n");
}

/// Puts a descriptor in the place of stdout, and collects what comes out of its other end.
class Captured {
 public:
  enum class Kind { pipe, terminal };
  explicit Captured(Kind kind, unsigned short columns = 100) {
    int ends[2];
    if (kind == Kind::terminal) {
      struct winsize size {
        24, columns, 0, 0
      };
      if (::openpty(&ends[0], &ends[1], nullptr, nullptr, &size) != 0) throw std::runtime_error("openpty");
    } else if (::pipe(ends) != 0) {
      throw std::runtime_error("pipe");
    }
    out_ = ends[0];
    std::fflush(stdout);
    saved_ = ::dup(STDOUT_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[1]);
    ::fcntl(out_, F_SETFL, O_NONBLOCK);
  }
  ~Captured() {
    (void)text();
    ::close(out_);
  }
  /// Puts stdout back and gives what was written.
  std::string text() {
    if (saved_ >= 0) {
      read();
      ::dup2(saved_, STDOUT_FILENO);
      ::close(saved_);
      saved_ = -1;
      read();
    }
    return text_;
  }

 private:
  void read() {
    char buffer[4096];
    for (ssize_t got; (got = ::read(out_, buffer, sizeof buffer)) > 0;)
      text_.append(buffer, static_cast<std::size_t>(got));
  }
  int out_ = -1, saved_ = -1;
  std::string text_;
};

std::string run(Captured::Kind kind, const Value& with, std::int64_t steps = 30, bool quiet = false) {
  testkit::FakeHost host;
  auto made = testkit::make<Monitor>(testkit::this_library("monitor/console"), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  const auto monitor = *made;
  Captured captured(kind);
  RunInfo info;
  info.name = "quick";
  info.total_steps = steps;
  info.parameters = 1'200'000;
  info.active_parameters = 300'000;
  info.quiet = quiet;
  EXPECT_TRUE(monitor->start(info).ok());
  for (std::int64_t step = 1; step <= steps; ++step) EXPECT_TRUE(monitor->step(report_of(step)).ok());
  EXPECT_TRUE(monitor->checkpoint(steps, "/run/step").ok());
  EXPECT_TRUE(monitor->finish(0).ok());
  return captured.text();
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

TEST(Console, PlainLinesOnAPipe) {
  const std::string text = run(Captured::Kind::pipe, testkit::map({{"every", 10}, {"interval", "1h"}}));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.substr(0, text.find('\n')), "quick: 30 steps, 1.2M parameters (300k active)");
  EXPECT_EQ(count(text, "loss"), 4u); // the first, 10, 20, 30
  EXPECT_EQ(count(text, "checkpoint of step 30: /run/step"), 1u);
}

TEST(Console, QuietWritesNothing) {
  for (const auto kind : {Captured::Kind::pipe, Captured::Kind::terminal})
    EXPECT_EQ(run(kind, testkit::map({{"every", 1}}), 30, true), "");
}

TEST(Console, EveryStepWithoutAnInterval) {
  EXPECT_EQ(count(run(Captured::Kind::pipe, testkit::map({{"every", 1}, {"interval", 0}})), "loss"), 30u);
  EXPECT_EQ(count(run(Captured::Kind::pipe, testkit::map({{"interval", "1h"}})), "loss"), 2u); // the first and the last
}

TEST(Console, RateAndTimeLeftAreOfOnePace) {
  testkit::FakeHost host;
  const auto made =
      testkit::make<Monitor>(testkit::this_library("monitor/console"), host, testkit::map({{"every", 1}}));
  ASSERT_TRUE(made.ok());
  Captured captured(Captured::Kind::pipe);
  RunInfo info;
  info.total_steps = 200;
  EXPECT_TRUE((*made)->start(info).ok());
  for (std::int64_t step = 1; step <= 100; ++step) {
    StepReport report = report_of(step); // 24690 tokens in 2 s
    if (step == 100) {                   // and one step that took ten times as long
      report.metrics[4].value = 1234.5;
      report.metrics[5].value = 20;
    }
    EXPECT_TRUE((*made)->step(report).ok());
  }
  const std::string text = captured.text();
  // 0.95 * 2 s + 0.05 * 20 s = 2.9 s: 24690 / 2.9 tokens a second, 100 * 2.9 s left.
  EXPECT_EQ(count(text, "8.51k tok/s  ETA 4m50s"), 1u) << text;
  EXPECT_EQ(count(text, "12.3k tok/s  ETA 3m"), 19u) << text; // 101 to 119 steps left
}

TEST(Console, RedrawsOneLineOnATerminal) {
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  const std::string text = run(Captured::Kind::terminal, {});
  EXPECT_NE(text.find("\r\x1b[K  3% "), std::string::npos);
  EXPECT_NE(text.find("\r\x1b[K100% "), std::string::npos);
  EXPECT_NE(text.find("\x1b[1mquick"), std::string::npos);
  EXPECT_EQ(count(text, "\n"), 3u); // headline, checkpoint, last state
}

TEST(Console, RespectsNoColor) {
  ::setenv("TERM", "xterm", 1);
  ::setenv("NO_COLOR", "1", 1);
  const std::string text = run(Captured::Kind::terminal, {});
  ::unsetenv("NO_COLOR");
  EXPECT_EQ(text.find("\x1b[1m"), std::string::npos);
  EXPECT_EQ(text.find("\x1b[2m"), std::string::npos);
  ::setenv("TERM", "dumb", 1);
  const std::string dumb = run(Captured::Kind::terminal, {});
  ::setenv("TERM", "xterm", 1);
  EXPECT_EQ(dumb.find('\x1b'), std::string::npos);
}

} // namespace
} // namespace conclave
