// monitor/console: what a person sees. On a terminal one progress line that redraws itself; elsewhere plain lines.
//
// Threading: the observer's thread. Lines that the host logs meanwhile may stand beside the progress line; the next redraw
// starts at the line's beginning and erases the rest of it.
#pragma once

#include <chrono>
#include <string>

#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "text.hpp"

namespace conclave::console {

enum class Style { automatic, bar, plain };
enum class Stream { standard_output, standard_error };

struct Options {
  Style style = Style::automatic;
  Stream stream = Stream::standard_output;
  Count every = 0;
  Seconds interval = 10;
};
OptionTable option_table();

class Console final : public Monitor {
 public:
  Console(HostContext& host, const Options& options);
  Status start(const RunInfo& run) override;
  Status step(const StepReport& report) override;
  Status evaluation(const EvaluationReport& report) override;
  Status checkpoint(std::int64_t step, const std::string& path) override;
  Status finish(int exit_code) override;

 private:
  using Clock = std::chrono::steady_clock;
  void update_rates(const StepReport& report);
  [[nodiscard]] bool plain_due(std::int64_t step, Clock::time_point now) const;
  void erase_bar();
  Status write_line(const std::string& line);
  Status write(const std::string& text);
  [[nodiscard]] std::size_t width() const;

  Options options_;
  int descriptor_;
  bool quiet_ = false, bar_ = false, colour_ = false, unicode_ = false;
  bool drawn_ = false; ///< the progress line is on the screen
  std::string last_bar_;
  Progress progress_;
  std::int64_t first_step_ = 0;
  Clock::time_point last_shown_{};
  bool shown_ = false;              ///< the first step of the attempt was
  double seconds_ = 0, tokens_ = 0; ///< of a step, smoothed alike
};

} // namespace conclave::console
