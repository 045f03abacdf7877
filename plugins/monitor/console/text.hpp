// The console's texts: numbers, the progress line, plain lines and the evaluation table. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/monitor.hpp"

namespace conclave::console {

/// `950`, `12.3k`, `4.56M`: three digits and a power of 1000.
std::string short_number(double value);
/// `45s`, `3m05s`, `2h07m`, `3d04h`; `?` for what is not finite or negative.
std::string short_time(double seconds);

struct Progress {
  std::int64_t step = 0, total = 0;
  double tokens_per_second = 0; ///< smoothed over the last steps, as is the time left
  double seconds_left = -1;     ///< negative: not known yet
};

/// `loss 3.21  nll 3.05  lr 1.0e-04  grad 0.85  12.3k tok/s`, with what the report has, and `SKIPPED` when nothing was applied.
std::string step_text(const StepReport& report, const Progress& progress);

/// At most `width` columns: a percentage, a bar where there is room, the step, the texts, the time left.
std::string progress_line(const StepReport& report, const Progress& progress, std::size_t width, bool unicode);
/// One line for logs: nothing is cut.
std::string plain_line(const StepReport& report, const Progress& progress);

/// One row for each domain and one for all of them; a column for each metric. Ends with a newline.
std::string evaluation_table(const EvaluationReport& report);

} // namespace conclave::console
