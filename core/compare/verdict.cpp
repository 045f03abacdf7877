// Choice of measure, choice of test, words.

#include "compare/verdict.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

#include "compare/numbers.hpp"

namespace conclave::compare {
namespace {

constexpr double significant = 0.05;

/// What is compared: a value of each run that has one.
struct Measure {
  std::string name, unit, at, remark;
  bool held_out = true;
  bool bytes = false;    // bits per byte
  std::int64_t step = 0; // 0: the last evaluation of finished runs
};

const Evaluated* evaluation_at(const Run& run, std::int64_t step) {
  for (const Evaluated& evaluated : run.curves.evaluations)
    if (evaluated.step == step) return &evaluated;
  return nullptr;
}

double value_of(const Run& run, const Measure& measure, std::size_t window) {
  if (!measure.held_out) {
    const auto found = std::lower_bound(run.curves.step.begin(), run.curves.step.end(), measure.step);
    if (found == run.curves.step.end() || *found != measure.step) return not_known;
    return trailing_mean(run.curves.nll, window)[static_cast<std::size_t>(found - run.curves.step.begin())];
  }
  const DomainScore* score = &run.summary.held_out;
  if (measure.step > 0) {
    const Evaluated* evaluated = evaluation_at(run, measure.step);
    if (evaluated == nullptr) return not_known;
    score = &evaluated->all;
  } else if (run.facts.state != RunState::finished || run.summary.evaluated_step != run.summary.last_step) {
    return not_known;
  }
  return measure.bytes ? score->bits_per_byte : score->nll;
}

/// Runs of a group with a value, by their seeds.
struct Sample {
  std::vector<double> values;
  std::vector<const Run*> runs;
};
Sample sample_of(const Comparison& all, const Group& group, const Measure& measure) {
  Sample sample;
  for (const std::size_t index : group.counted) {
    const double value = value_of(all.runs[index], measure, all.window);
    if (!std::isfinite(value)) continue;
    sample.values.push_back(value);
    sample.runs.push_back(&all.runs[index]);
  }
  return sample;
}

/// The largest step at which every counted run of both groups that has any of what `steps` lists has it; 0: none.
template <class Steps>
std::int64_t last_common(const Comparison& all, const Group& a, const Group& b, const Steps& steps) {
  std::set<std::int64_t> common;
  bool first = true;
  for (const Group* group : {&a, &b}) {
    bool any = false;
    for (const std::size_t index : group->counted) {
      const std::set<std::int64_t> own = steps(all.runs[index]);
      if (own.empty()) continue; // it left nothing: the others of its group can still be compared
      any = true;
      std::set<std::int64_t> both;
      std::set_intersection(common.begin(), common.end(), own.begin(), own.end(), std::inserter(both, both.end()));
      common = first ? own : both;
      first = false;
    }
    if (!any) return 0;
  }
  return common.empty() ? 0 : *common.rbegin();
}

std::set<std::int64_t> evaluated_steps(const Run& run) {
  std::set<std::int64_t> steps;
  for (const Evaluated& evaluated : run.curves.evaluations)
    if (std::isfinite(evaluated.all.nll)) steps.insert(evaluated.step);
  return steps;
}
std::set<std::int64_t> trained_steps(const Run& run) {
  std::set<std::int64_t> steps;
  for (std::size_t i = 0; i < run.curves.step.size(); ++i)
    if (std::isfinite(run.curves.nll[i])) steps.insert(run.curves.step[i]);
  return steps;
}

std::string store_of(const Comparison& all, const Group& group) {
  return all.runs[group.runs.front()].facts.data_store;
}

std::optional<Measure> choose(const Comparison& all, const Group& a, const Group& b) {
  Measure measure;
  const std::string first = store_of(all, a), second = store_of(all, b);
  measure.bytes = !first.empty() && !second.empty() && first != second;
  measure.name = measure.bytes ? "held-out bits per byte" : "held-out nll";
  measure.unit = measure.bytes ? "bits" : "nats";
  if (measure.bytes) measure.remark = "their data were prepared otherwise: the held-out text may not be the same";
  measure.at = "at the end";
  if (!sample_of(all, a, measure).values.empty() && !sample_of(all, b, measure).values.empty()) {
    const auto steps = [&](const Group& group) { return all.runs[group.counted.front()].summary.last_step; };
    if (steps(a) != steps(b))
      measure.remark += (measure.remark.empty() ? "" : "; ") + std::string("A run of ") + b.letter + " has " +
                        std::to_string(steps(b)) + " steps, one of " + a.letter + " " + std::to_string(steps(a));
    return measure;
  }
  measure.step = last_common(all, a, b, evaluated_steps);
  if (measure.step == 0) {
    measure.held_out = measure.bytes = false;
    measure.name = "training nll";
    measure.unit = "nats";
    measure.step = last_common(all, a, b, trained_steps);
  }
  if (measure.step == 0) return std::nullopt;
  measure.at = (measure.held_out ? "at step " : "of the steps up to ") + std::to_string(measure.step) +
               ", the last one that all have";
  return measure;
}

/// Runs of both that saw the same batches in the same order.
struct Pairs {
  std::vector<double> a, b;
};
Pairs pair_up(const Sample& a, const Sample& b) {
  Pairs pairs;
  for (std::size_t i = 0; i < a.runs.size(); ++i)
    for (std::size_t j = 0; j < b.runs.size(); ++j) {
      const RunFacts &left = a.runs[i]->facts, &right = b.runs[j]->facts;
      if (left.seed != right.seed || left.data_order.empty() || left.data_order != right.data_order) continue;
      pairs.a.push_back(a.values[i]);
      pairs.b.push_back(b.values[j]);
    }
  return pairs;
}

std::string seeds_text(std::size_t n) { return std::to_string(n) + (n == 1 ? " seed" : " seeds"); }

void test_groups(const Comparison& all, const Measure& measure, const Sample& a, const Sample& b, Verdict& verdict) {
  const Pairs pairs = pair_up(a, b);
  verdict.seeds = std::min(a.values.size(), b.values.size());
  if (pairs.a.size() >= 2) {
    verdict.seeds = pairs.a.size();
    verdict.test = paired_test(pairs.a, pairs.b);
    verdict.method = "paired t over the same batches";
    return;
  }
  if (a.values.size() >= 2 && b.values.size() >= 2) {
    verdict.test = welch_test(a.values, b.values);
    verdict.method = "Welch's t";
    return;
  }
  std::vector<std::vector<double>> groups;
  for (const Group& group : all.groups) groups.push_back(sample_of(all, group, measure).values);
  const Pooled pooled = pooled_deviation(groups);
  if (pooled.freedom < 1) return;
  verdict.test = pooled_test(a.values, b.values, pooled.deviation, pooled.freedom);
  verdict.method = "t with the spread of seeds that other groups show";
}

/// Runs of both groups with one seed, whose settings ask for the same numbers: do their losses agree?
std::optional<std::string> same_numbers(const Comparison& all, const Group& a, const Group& b) {
  if (a.numerics.empty() || a.numerics != b.numerics) return std::nullopt;
  std::size_t common = 0;
  double largest = 0;
  std::int64_t parted = 0;
  for (const std::size_t i : a.counted)
    for (const std::size_t j : b.counted) {
      const Run &left = all.runs[i], &right = all.runs[j];
      if (left.facts.seed != right.facts.seed) continue;
      for (std::size_t x = 0, y = 0; x < left.curves.step.size() && y < right.curves.step.size();) {
        if (left.curves.step[x] != right.curves.step[y]) {
          ++(left.curves.step[x] < right.curves.step[y] ? x : y);
          continue;
        }
        const double difference = std::abs(left.curves.nll[x] - right.curves.nll[y]);
        if (difference > 0 && (parted == 0 || left.curves.step[x] < parted)) parted = left.curves.step[x];
        largest = std::max(largest, difference);
        ++common, ++x, ++y;
      }
    }
  if (common == 0) return std::nullopt;
  if (parted == 0)
    return "their losses are equal bit for bit in all " + std::to_string(common) + " steps that they have in common";
  return "their losses part at step " + std::to_string(parted) + " and by at most " + short_number(largest) +
         " nats, as rounding does";
}

std::string tested_sentence(const Comparison& all, const Verdict& verdict, const std::string& what, bool adjusted) {
  const std::string &a = all.groups[verdict.baseline].letter, &b = all.groups[verdict.group].letter;
  const MeanDifference& test = *verdict.test;
  const int digits = digits_for(test.half_width);
  const std::string amount =
      fixed(std::abs(test.difference), digits) + " ± " + fixed(test.half_width, digits) + " " + verdict.unit;
  const std::string how = " over " + seeds_text(verdict.seeds) + " (" + p_text(verdict.p_adjusted) + ", " +
                          verdict.method + (adjusted ? ", adjusted for several comparisons" : "") + "), " + what;
  if (verdict.outcome == Outcome::cannot_tell)
    return "cannot tell " + b + " from " + a + ": " + b + " is " + (test.difference < 0 ? "lower" : "higher") + " by " +
           amount + how;
  return b + " " + to_string(verdict.outcome) + " than " + a + " by " + amount + how;
}

std::string untested_sentence(const Comparison& all, const Verdict& verdict, const std::string& what,
                              double difference) {
  const std::string &a = all.groups[verdict.baseline].letter, &b = all.groups[verdict.group].letter;
  return "cannot tell " + b + " from " + a + ": one seed each, and how far seeds differ is not known; " + b + " is " +
         (difference < 0 ? "lower" : "higher") + " by " + fixed(std::abs(difference), 4) + " " + verdict.unit + ", " +
         what + ". Run both with more seeds (sweep: {seeds: 3})";
}

/// Logarithms of tokens/s: machines differ by factors.
std::vector<double> speeds_of(const Comparison& all, const Group& group) {
  std::vector<double> logarithms;
  for (const std::size_t index : group.counted)
    if (const double speed = all.runs[index].summary.tokens_per_second; std::isfinite(speed) && speed > 0)
      logarithms.push_back(std::log(speed));
  return logarithms;
}

std::string speed_sentence(const Comparison& all, const Group& a, const Group& b, double ratio) {
  const std::vector<double> before = speeds_of(all, a), now = speeds_of(all, b);
  const std::string factor = fixed(ratio, 2) + " x the tokens/s of " + a.letter;
  if (before.size() < 2 || now.size() < 2) return b.letter + " makes " + factor + " (one run each)";
  const double p = welch_test(before, now).p;
  if (p < significant) return b.letter + " makes " + factor + " (" + p_text(p) + ")";
  return "cannot tell their speeds apart (" + b.letter + " makes " + factor + ", " + p_text(p) + ")";
}

/// A verdict whose words wait for the adjusted p.
struct Draft {
  Verdict verdict;
  std::string what; // measure, place and remark
};

Draft draft(const Comparison& all, std::size_t baseline, std::size_t group) {
  const Group &a = all.groups[baseline], &b = all.groups[group];
  Draft draft;
  Verdict& verdict = draft.verdict;
  verdict.baseline = baseline;
  verdict.group = group;
  const std::vector<double> before = speeds_of(all, a), now = speeds_of(all, b);
  if (!before.empty() && !now.empty()) verdict.speed_ratio = std::exp(spread_of(now).mean - spread_of(before).mean);
  if (const auto same = same_numbers(all, a, b)) {
    verdict.outcome = Outcome::same_numbers;
    verdict.sentence =
        b.letter + " computes the numbers of " + a.letter + ": no setting that affects them differs, and " + *same;
    if (std::isfinite(verdict.speed_ratio)) verdict.sentence += "; " + speed_sentence(all, a, b, verdict.speed_ratio);
    return draft;
  }
  const std::optional<Measure> measure = choose(all, a, b);
  if (!measure) {
    verdict.outcome = Outcome::not_comparable;
    verdict.sentence = "cannot compare " + b.letter + " with " + a.letter + ": they have no step in common";
    return draft;
  }
  verdict.measure = measure->name;
  verdict.unit = measure->unit;
  verdict.at = measure->at;
  draft.what = measure->name + " " + measure->at + (measure->remark.empty() ? "" : " (" + measure->remark + ")");
  const Sample first = sample_of(all, a, *measure), second = sample_of(all, b, *measure);
  if (first.values.empty() || second.values.empty()) {
    verdict.outcome = Outcome::not_comparable;
    verdict.sentence = "cannot compare " + b.letter + " with " + a.letter + ": " +
                       (first.values.empty() ? a.letter : b.letter) + " has no " + measure->name;
    return draft;
  }
  test_groups(all, *measure, first, second, verdict);
  if (!verdict.test)
    verdict.sentence =
        untested_sentence(all, verdict, draft.what, spread_of(second.values).mean - spread_of(first.values).mean);
  return draft;
}

} // namespace

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::better: return "better";
    case Outcome::worse: return "worse";
    case Outcome::cannot_tell: return "cannot tell";
    case Outcome::same_numbers: return "same numbers";
    case Outcome::not_comparable: return "not comparable";
  }
  return "cannot tell";
}

std::vector<Verdict> judge(const Comparison& comparison) {
  std::vector<Draft> drafts;
  std::vector<double> p;
  for (std::size_t group = 0; group < comparison.groups.size(); ++group) {
    if (group == comparison.baseline) continue;
    drafts.push_back(draft(comparison, comparison.baseline, group));
    if (drafts.back().verdict.test) p.push_back(drafts.back().verdict.test->p);
  }
  const std::vector<double> adjusted = holm(p);
  std::vector<Verdict> verdicts;
  std::size_t tested = 0;
  for (Draft& draft : drafts) {
    Verdict& verdict = draft.verdict;
    if (verdict.test) {
      verdict.p_adjusted = adjusted[tested++];
      if (verdict.p_adjusted < significant)
        verdict.outcome = verdict.test->difference < 0 ? Outcome::better : Outcome::worse;
      verdict.sentence = tested_sentence(comparison, verdict, draft.what, p.size() > 1);
    }
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

std::string describe_spread(const Comparison& comparison) {
  if (comparison.groups.size() != 1) return {};
  const Group& group = comparison.groups.front();
  if (group.counted.size() < 2) return "one run: nothing to compare it with";
  const std::optional<Measure> measure = choose(comparison, group, group);
  if (!measure) return "the runs differ by seed only and have no step in common";
  const Sample sample = sample_of(comparison, group, *measure);
  const Spread spread = spread_of(sample.values);
  if (spread.n < 2) return "the runs differ by seed only, and fewer than two of them have a " + measure->name;
  const auto [least, most] = std::minmax_element(sample.values.begin(), sample.values.end());
  const int digits = digits_for(spread.deviation);
  return "cannot tell the runs apart: they differ by seed only, so their differences are the noise between seeds: " +
         measure->name + " " + measure->at + " is " + fixed(spread.mean, digits) + " with a deviation of " +
         fixed(spread.deviation, digits) + " " + measure->unit + " over " + seeds_text(spread.n) + " (" +
         fixed(*least, digits) + " to " + fixed(*most, digits) + ")";
}

} // namespace conclave::compare
