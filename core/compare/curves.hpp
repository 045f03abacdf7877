// Curves: what the steps and evaluations of a run came to, from its metrics.jsonl.
//
// Rows of a later attempt supersede those of earlier ones from the step where it went on, so every step stands here once.
// Lines that cannot be read are counted and left out.
//
// Threading: functions without state. Memory: nine numbers a step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace conclave::compare {

struct DomainScore {
  double nll = 0;           ///< nats a token; NaN: not said
  double bits_per_byte = 0; ///< likewise
};

struct Evaluated {
  std::int64_t step = 0;
  DomainScore all;
  std::map<std::string, DomainScore> domains;
};

/// One entry a step in each vector; NaN where the row does not say.
struct Curves {
  std::vector<std::int64_t> step; ///< ascending
  std::vector<double> tokens;     ///< seen up to and with this step
  std::vector<double> hours;      ///< of training up to and with this step: what was superseded does not count
  std::vector<double> loss, nll;  ///< nats
  std::vector<double> learning_rate, grad_norm, tokens_per_second;
  std::vector<double> imbalance;      ///< tokens of the fullest expert over the mean, mean over layers; 1: even
  std::vector<Evaluated> evaluations; ///< ascending by step, the last one of a step

  std::int64_t attempts = 0;          ///< start rows
  std::int64_t superseded = 0;        ///< steps that were computed again
  std::int64_t unreadable = 0;        ///< lines
  std::int64_t schema = 0;            ///< of the last start row; 0: none had one
  std::int64_t active_parameters = 0; ///< of the last start row
};

/// The metrics of a run directory: `metrics.jsonl`, or whichever `*.jsonl` begins with a start row. Empty curves when there
/// is none.
Curves read_curves(const std::filesystem::path& run_directory);

/// The mean of the last `window` values up to each step, NaN left out: what noise a single step has is gone, and nothing of the
/// future is known. The first steps have as many as there are.
std::vector<double> trailing_mean(const std::vector<double>& values, std::size_t window);

} // namespace conclave::compare
