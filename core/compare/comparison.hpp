// Comparison: what runs have in common, where their experiments differ, how far each came, and which group is better.
//
// Runs whose settings differ by nothing but seed, io and naming are one group: repetitions of one recipe. Every group is
// held against the first one (or the chosen one): on held-out nll where both have it, with a test that says whether the
// difference is more than the noise between seeds. Where that noise is not known, the answer is "cannot tell".
//
// Threading: reentrant. Units: nats a token, tokens, hours, bytes, FLOP of forward and backward pass.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compare/curves.hpp"
#include "compare/run_facts.hpp"
#include "compare/statistics.hpp"

namespace conclave::compare {

inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// When a curve first came down to the target loss.
struct Reached {
  std::int64_t step = 0;
  double tokens = 0, hours = 0;
  double flops = not_known;
};

/// NaN: not known.
struct Summary {
  std::int64_t last_step = 0;
  double tokens = 0, hours = 0, flops = not_known;
  double train_nll = not_known; ///< mean of the last `window` steps
  std::int64_t evaluated_step = 0;
  DomainScore held_out{not_known, not_known};
  std::map<std::string, DomainScore> domains;
  std::optional<Reached> reached;
  double tokens_per_second = not_known; ///< median over steps but each attempt's first
  double imbalance = not_known;         ///< mean over the last tenth of the steps
};

struct Run {
  RunFacts facts;
  Curves curves;
  Summary summary;
  std::size_t group = 0;
};

struct Group {
  std::string letter; ///< A, B, ..., Z, AA, ...
  std::string label;  ///< what sets it apart: `experts=8, lr=1e-3`
  std::vector<std::size_t> runs;
  std::vector<std::size_t> counted; ///< of them, those that count in means and tests: one for each seed
  std::string numerics;             ///< its settings that affect numbers, but the seed, as one text
};

/// One value of a setting, and who has it.
struct Variant {
  std::string value;              ///< "-": not set
  std::string origin;             ///< where it was written
  std::vector<std::string> whose; ///< letters of groups; names of runs where those of a group differ
};
struct Difference {
  std::string key;
  std::string affects; ///< numerics, selection, speed, io, naming; "environment" for what no setting says
  std::vector<Variant> variants;
};

enum class Outcome {
  better,         ///< the group's value is lower than the baseline's, by more than noise
  worse,          ///< higher
  cannot_tell,    ///< the noise is larger than the difference, or not known
  same_numbers,   ///< nothing that affects numbers differs, and neither do the losses
  not_comparable, ///< no step in common
};
const char* to_string(Outcome outcome) noexcept;

struct Verdict {
  std::size_t baseline = 0, group = 0;
  Outcome outcome = Outcome::cannot_tell;
  std::string measure; ///< "held-out nll", ...
  std::string unit;
  std::string at;     ///< at which step it was taken
  std::string method; ///< of the test; "" without one
  std::optional<MeanDifference> test;
  double p_adjusted = 1;          ///< Holm, over all tests of the comparison
  std::size_t seeds = 0;          ///< pairs, or runs of the smaller group
  double speed_ratio = not_known; ///< tokens/s over the baseline's, of geometric means
  std::string sentence;           ///< all of that in words
};

struct Options {
  double target_loss = not_known; ///< of tokens-to-loss; NaN: the worst of the runs' last losses, which all reach
  std::string baseline = {};      ///< letter, label or a run's name; "": the first group
};

struct Comparison {
  std::vector<Run> runs;
  std::vector<Group> groups;
  std::vector<Difference> differences; ///< by what they affect, then by key
  std::vector<Verdict> verdicts;
  std::string only_seeds;   ///< with one group: what can be said of it; "" otherwise
  std::size_t baseline = 0; ///< of groups
  std::size_t window = 1;   ///< steps of a trailing mean
  double target_loss = not_known;
  std::vector<std::string> domains;  ///< of any run
  std::vector<std::string> left_out; ///< directories that hold nothing to compare, each with why
};

/// Reads and compares. Code::invalid_argument when no run is left, with the reason for each, or when there is no such
/// baseline.
Result<Comparison> compare(const std::vector<std::filesystem::path>& directories, const Options& options);

/// The same over runs that were read.
Result<Comparison> compare(std::vector<Run> runs, const Options& options);

} // namespace conclave::compare
