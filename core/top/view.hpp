// View: what `conclave top` knows of a run. Source: where it comes from.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::top {

/// One step. What the run did not tell is NaN.
struct Point {
  std::int64_t step = 0;
  double loss, learning_rate, tokens_per_second, grad_norm;
};

/// Experts of one layer in the last step.
struct Layer {
  std::string name;
  std::vector<double> load; ///< tokens by expert; empty: not told
  double fullest = 0;       ///< load of the fullest over the mean
};

struct View {
  std::string name;
  std::int64_t step = 0, total_steps = 0, attempt = 0;
  int ranks = 1;
  std::vector<Point> points; ///< by step, each once: the latest attempt's
  double step_seconds = 0;   ///< of the latest steps, the median; 0: not known
  double data_wait_seconds = 0;
  std::vector<Layer> experts;
  std::map<std::string, double> held_out; ///< nats of held-out text by domain, at the last evaluation
  std::optional<std::int64_t> checkpoint; ///< step of the last good one
  std::optional<int> exit_code;           ///< the run has ended
  std::map<int, std::string> ended;       ///< by rank: how it ended, of an attempt that is over
  double silent_seconds = 0;              ///< since the run last told something
};

class Source {
 public:
  virtual ~Source() = default;
  /// Brings the view up to date. An error leaves it as it was.
  virtual Status refresh(View& view) = 0;
};

} // namespace conclave::top
