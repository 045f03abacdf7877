// Reading, summing up, and putting the parts together.

#include "compare/comparison.hpp"

#include <algorithm>
#include <set>

#include "compare/grouping.hpp"
#include "compare/verdict.hpp"

namespace conclave::compare {
namespace {

constexpr std::size_t window_share = 20; // a trailing mean spans a twentieth of the shortest run
constexpr std::size_t tail_share = 10;   // "at the end" is the last tenth of the steps

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return not_known;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double tail_mean(const std::vector<double>& values) {
  if (values.empty()) return not_known;
  return trailing_mean(values, std::max<std::size_t>(1, values.size() / tail_share)).back();
}

/// FLOP a token: as recorded, else 6 for each active parameter, the usual estimate without attention.
double flops_per_token(const Run& run) {
  if (run.facts.flops_per_token > 0) return run.facts.flops_per_token;
  const std::int64_t active =
      run.facts.active_parameters > 0 ? run.facts.active_parameters : run.curves.active_parameters;
  return active > 0 ? 6.0 * static_cast<double>(active) : not_known;
}

void summarise(Run& run) {
  Summary& summary = run.summary;
  const Curves& curves = run.curves;
  if (!curves.step.empty()) {
    summary.last_step = curves.step.back();
    summary.tokens = curves.tokens.back();
    summary.hours = curves.hours.back();
    summary.flops = summary.tokens * flops_per_token(run);
    // The first step of an attempt pays for what is made once.
    const std::vector<double>& rates = curves.tokens_per_second;
    summary.tokens_per_second = median(rates.size() > 1 ? std::vector<double>(rates.begin() + 1, rates.end()) : rates);
    summary.imbalance = tail_mean(curves.imbalance);
  }
  if (!curves.evaluations.empty()) {
    const Evaluated& last = curves.evaluations.back();
    summary.evaluated_step = last.step;
    summary.held_out = last.all;
    summary.domains = last.domains;
  }
}

void mark(Run& run) {
  std::vector<std::string>& marks = run.facts.marks;
  const Curves& curves = run.curves;
  if (curves.superseded > 0) marks.push_back(std::to_string(curves.superseded) + " steps were computed again");
  if (curves.unreadable > 0)
    marks.push_back(std::to_string(curves.unreadable) + " lines of its metrics cannot be read and are left out");
  if (curves.schema > 1)
    marks.push_back("its metrics have schema " + std::to_string(curves.schema) + ", this program knows 1");
  if (!curves.step.empty() && curves.step.front() > 1)
    marks.push_back("begins at step " + std::to_string(curves.step.front()) +
                    ": tokens before it are estimated, hours before it are not counted");
  if (curves.step.empty()) marks.emplace_back("has no step yet");
}

std::optional<Reached> reach(const Run& run, double target, std::size_t window) {
  const std::vector<double> means = trailing_mean(run.curves.nll, window);
  for (std::size_t i = window - 1; i < means.size(); ++i) // a mean of fewer is noise
    if (means[i] <= target)
      return Reached{run.curves.step[i], run.curves.tokens[i], run.curves.hours[i],
                     run.curves.tokens[i] * flops_per_token(run)};
  return std::nullopt;
}

/// The worst last loss of the finished runs, rounded up, so that they all reach it; of all runs where none has finished.
double common_target(const std::vector<Run>& runs) {
  constexpr double grain = 100;
  double finished = not_known, any = not_known;
  for (const Run& run : runs) {
    if (!std::isfinite(run.summary.train_nll)) continue;
    any = std::fmax(any, run.summary.train_nll);
    if (run.facts.state == RunState::finished) finished = std::fmax(finished, run.summary.train_nll);
  }
  return std::ceil((std::isfinite(finished) ? finished : any) * grain) / grain;
}

Result<std::size_t> find_baseline(const std::vector<Run>& runs, const std::vector<Group>& groups,
                                  const std::string& wanted) {
  if (wanted.empty()) return std::size_t{0};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].letter == wanted || groups[i].label == wanted) return i;
    names.push_back(groups[i].label);
  }
  for (const Run& run : runs) {
    if (run.facts.name == wanted) return run.group;
    names.push_back(run.facts.name);
  }
  const std::string nearest = nearest_name(wanted, names);
  return invalid("there is no group or run '" + wanted + "' to compare with",
                 nearest.empty() ? "name a letter of the table, such as A" : "did you mean " + nearest + "?",
                 "--baseline");
}

} // namespace

Result<Comparison> compare(std::vector<Run> runs, const Options& options) {
  Comparison comparison;
  for (Run& run : runs) {
    if (!run.curves.step.empty() || !run.curves.evaluations.empty()) {
      comparison.runs.push_back(std::move(run));
      continue;
    }
    std::string why;
    for (const std::string& said : run.facts.marks) why += (why.empty() ? "" : "; ") + said;
    comparison.left_out.push_back(run.facts.path.string() + ": no step is left of it" +
                                  (why.empty() ? "" : " (" + why + ")"));
  }
  if (comparison.runs.empty()) {
    std::string reasons;
    for (const std::string& reason : comparison.left_out) reasons += (reasons.empty() ? "" : "; ") + reason;
    return invalid("no run is left to compare" + (reasons.empty() ? "" : ": " + reasons),
                   "name runs that have trained at least one step, with a monitor that writes metrics.jsonl",
                   "compare");
  }
  std::size_t shortest = std::numeric_limits<std::size_t>::max();
  std::vector<RunFacts*> facts;
  for (Run& run : comparison.runs) {
    summarise(run);
    mark(run);
    shortest = std::min(shortest, std::max<std::size_t>(1, run.curves.step.size()));
    facts.push_back(&run.facts);
  }
  complete_affects(facts);
  comparison.window = std::max<std::size_t>(1, shortest / window_share);
  for (Run& run : comparison.runs)
    if (!run.curves.step.empty()) run.summary.train_nll = trailing_mean(run.curves.nll, comparison.window).back();
  comparison.target_loss = std::isfinite(options.target_loss) ? options.target_loss : common_target(comparison.runs);
  std::set<std::string> domains;
  for (Run& run : comparison.runs) {
    run.summary.reached = reach(run, comparison.target_loss, comparison.window);
    for (const auto& [domain, score] : run.summary.domains) domains.insert(domain);
  }
  comparison.domains.assign(domains.begin(), domains.end());
  comparison.groups = group_runs(comparison.runs);
  comparison.differences = find_differences(comparison.runs, comparison.groups);
  CONCLAVE_ASSIGN(comparison.baseline, find_baseline(comparison.runs, comparison.groups, options.baseline));
  comparison.verdicts = judge(comparison);
  comparison.only_seeds = describe_spread(comparison);
  return comparison;
}

Result<Comparison> compare(const std::vector<std::filesystem::path>& directories, const Options& options) {
  std::vector<Run> runs;
  std::vector<std::string> unreadable;
  for (const auto& directory : directories) {
    auto facts = read_facts(directory);
    if (!facts.ok()) {
      unreadable.push_back(facts.error().render());
      continue;
    }
    runs.push_back({std::move(*facts), read_curves(directory), {}, 0});
  }
  if (runs.empty() && !unreadable.empty()) return invalid(unreadable.front(), "name runs that can be read", "compare");
  CONCLAVE_ASSIGN(Comparison comparison, compare(std::move(runs), options));
  comparison.left_out.insert(comparison.left_out.end(), unreadable.begin(), unreadable.end());
  return comparison;
}

} // namespace conclave::compare
