// Cases of scheduler, monitor and checkpoint policy: what the training loop relies on.

#include <algorithm>
#include <cmath>
#include <limits>

#include "conclave/checkpoint_policy.hpp"
#include "conclave/monitor.hpp"
#include "conclave/scheduler.hpp"
#include "plugin/conformance/cases.hpp"

namespace conclave::conformance {
namespace {

// ---- scheduler ----

constexpr ScheduleExtent extents[] = {{1, 1e-4}, {2, 1e-4}, {10, 3e-3}, {1000, 1e-4}, {1'000'000, 1.0}, {100, 0.0}};

/// Every step of a short run, a sample of a long one, and some past its end.
std::vector<std::int64_t> steps_of(const ScheduleExtent& extent) {
  std::vector<std::int64_t> steps;
  const std::int64_t stride = std::max<std::int64_t>(1, extent.total_steps / 997);
  for (std::int64_t step = 0; step < extent.total_steps; step += stride) steps.push_back(step);
  for (const std::int64_t past : {-1, 0, 1, 1000}) steps.push_back(extent.total_steps + past);
  return steps;
}

std::string at(std::int64_t step, const ScheduleExtent& extent) {
  return "at step " + std::to_string(step) + " of " + std::to_string(extent.total_steps);
}

void rate_is_finite(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto scheduler = subject.make<Scheduler>(host);
  for (const ScheduleExtent& extent : extents)
    for (const std::int64_t step : steps_of(extent)) {
      const double rate = scheduler->learning_rate(step, extent);
      require(std::isfinite(rate), "the learning rate is " + std::to_string(rate) + " " + at(step, extent));
      require(rate >= 0, "the learning rate is negative (" + std::to_string(rate) + ") " + at(step, extent));
    }
}

void rate_is_pure(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto one = subject.make<Scheduler>(host), two = subject.make<Scheduler>(host);
  for (const ScheduleExtent& extent : extents) {
    const auto steps = steps_of(extent);
    std::vector<double> rates;
    for (const std::int64_t step : steps) rates.push_back(one->learning_rate(step, extent));
    for (std::size_t i = steps.size(); i-- > 0;) { // backwards: a resume or a plot asks in any order
      const double again = one->learning_rate(steps[i], extent), other = two->learning_rate(steps[i], extent);
      const auto same = [&](double rate) { // a NaN is no impurity: that it is one, another case says
        return rate == rates[i] || (std::isnan(rate) && std::isnan(rates[i]));
      };
      require(same(again) && same(other), "the learning rate differs between two calls " + at(steps[i], extent));
    }
  }
}

void rate_is_not_zero(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto scheduler = subject.make<Scheduler>(host);
  const ScheduleExtent extent{1000, 1e-3};
  const auto steps = steps_of(extent);
  require(std::any_of(steps.begin(), steps.end(),
                      [&](std::int64_t step) { return scheduler->learning_rate(step, extent) > 0; }),
          "the learning rate is 0 in every step of a run of 1000");
}

void warmup_is_a_number_of_steps(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto scheduler = subject.make<Scheduler>(host);
  for (const ScheduleExtent& extent : extents) {
    const std::int64_t warmup = scheduler->warmup_steps(extent);
    require(warmup >= 0 || warmup == Scheduler::no_warmup, "warmup_steps() is negative and not no_warmup");
  }
}

// ---- monitor ----

StepReport step_report(std::int64_t step) {
  StepReport report;
  report.step = step;
  const double loss = 5.0 / static_cast<double>(step);
  for (const auto& [name, unit, value] :
       std::vector<std::tuple<const char*, const char*, double>>{{"loss", "nats", loss},
                                                                 {"nll", "nats", loss},
                                                                 {"learning_rate", "", 1e-4},
                                                                 {"grad_norm", "", 0.5},
                                                                 {"tokens", "tokens", 4096},
                                                                 {"tokens_per_second", "tokens/second", 1000},
                                                                 {"step_seconds", "seconds", 4},
                                                                 {"applied", "", 1},
                                                                 {"loss_scale", "", 65536}})
    report.metrics.push_back({name, unit, value, Reduction::mean, {}});
  for (int expert = 0; expert < 4; ++expert)
    report.metrics.push_back({"expert_load",
                              "tokens",
                              1024.0 + expert,
                              Reduction::sum,
                              {{"layer", "0"}, {"expert", std::to_string(expert)}}});
  report.metrics.push_back({"domain_share", "", 0.5, Reduction::none, {{"domain", "a \"quoted\"\\ name\n"}}});
  return report;
}

RunInfo run_info(const testkit::TemporaryDir& dir) {
  RunInfo run;
  run.name = "conformance";
  run.directory = dir.path().string();
  run.config_hash = run.config_hash_without_seed = "0123456789abcdef";
  run.total_steps = 5;
  run.parameters = run.active_parameters = 1000;
  run.settings = {{"train.steps", "5"}};
  return run;
}

void watches_a_run(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const testkit::TemporaryDir dir;
  const auto monitor = subject.make<Monitor>(host);
  (void)monitor->placement();
  require_ok(monitor->start(run_info(dir)), "start()");
  for (std::int64_t step = 1; step <= 5; ++step) {
    require_ok(monitor->step(step_report(step)), "step()");
    if (step == 3) {
      EvaluationReport evaluation;
      evaluation.step = 3;
      evaluation.metrics = {{"nll", "nats", 2.0, Reduction::mean, {}},
                            {"nll", "nats", 2.5, Reduction::mean, {{"domain", "web"}}}};
      require_ok(monitor->evaluation(evaluation), "evaluation()");
      require_ok(monitor->checkpoint(3, (dir.path() / "checkpoints/step-00000003").string()), "checkpoint()");
    }
  }
  require_ok(monitor->finish(0), "finish()");
}

void takes_odd_values(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const testkit::TemporaryDir dir;
  const auto monitor = subject.make<Monitor>(host);
  require_ok(monitor->start(run_info(dir)), "start()");
  for (const double odd :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -0.0, 1e308}) {
    StepReport report = step_report(1);
    for (Metric& metric : report.metrics) metric.value = odd;
    require_ok(monitor->step(report), "step() with values of " + std::to_string(odd));
  }
  require_ok(monitor->step({}), "step() without any metric");
  require_ok(monitor->evaluation({}), "evaluation() without any metric");
  require_ok(monitor->finish(4), "finish()");
}

void ends_without_a_step(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const testkit::TemporaryDir dir;
  {
    const auto monitor = subject.make<Monitor>(host);
    require_ok(monitor->start(run_info(dir)), "start()");
    require_ok(monitor->finish(75), "finish()");
  }
  // A resume: another instance in the same run directory, later steps.
  RunInfo resumed = run_info(dir);
  resumed.first_step = 3;
  resumed.attempt = 1;
  const auto monitor = subject.make<Monitor>(host);
  require_ok(monitor->start(resumed), "start() after a resume");
  require_ok(monitor->step(step_report(4)), "step() after a resume");
  // Destroyed without finish(): the run died elsewhere.
}

// ---- checkpoint policy ----

void due_is_a_function(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto one = subject.make<CheckpointPolicy>(host), two = subject.make<CheckpointPolicy>(host);
  std::vector<bool> answers;
  for (std::int64_t step = 1; step <= 5000; ++step) answers.push_back(one->due(step, 5000));
  for (std::int64_t step = 5000; step >= 1; --step)
    require(one->due(step, 5000) == answers[static_cast<std::size_t>(step - 1)] &&
                two->due(step, 5000) == answers[static_cast<std::size_t>(step - 1)],
            "due(" + std::to_string(step) + ", 5000) changes between calls or instances");
}

void never_retires_all(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto one = subject.make<CheckpointPolicy>(host), two = subject.make<CheckpointPolicy>(host);
  std::vector<CheckpointInfo> committed;
  for (std::int64_t n = 0; n <= 60; ++n) {
    if (n > 0) committed.push_back({n * 50 + n % 3, 1000});
    const auto retired = one->retire(committed);
    require(retired == two->retire(committed) && retired == one->retire(committed),
            "retire() changes between calls or instances");
    for (const std::int64_t step : retired)
      require(std::any_of(committed.begin(), committed.end(), [&](const CheckpointInfo& c) { return c.step == step; }),
              "retire() names step " + std::to_string(step) + ", which is not committed");
    auto unique = retired;
    std::sort(unique.begin(), unique.end());
    require(std::adjacent_find(unique.begin(), unique.end()) == unique.end(), "retire() names a step twice");
    require(committed.empty() || retired.size() < committed.size(),
            "retire() removes every one of " + std::to_string(n) + " checkpoints");
    require(committed.empty() || std::find(retired.begin(), retired.end(), committed.back().step) == retired.end(),
            "retire() removes the newest checkpoint");
    std::erase_if(committed, [&](const CheckpointInfo& c) { // as the host does
      return std::find(retired.begin(), retired.end(), c.step) != retired.end();
    });
  }
}

} // namespace

std::vector<Case> scheduler_cases() {
  return {{"the rate is finite and not negative", rate_is_finite},
          {"the rate is pure", rate_is_pure},
          {"the rate is not always zero", rate_is_not_zero},
          {"the warm-up is a number of steps", warmup_is_a_number_of_steps}};
}

std::vector<Case> monitor_cases() {
  return {{"watches a run", watches_a_run},
          {"takes odd values", takes_odd_values},
          {"ends without a step and resumes", ends_without_a_step}};
}

std::vector<Case> checkpoint_cases() {
  return {{"due is a function", due_is_a_function}, {"never retires all", never_retires_all}};
}

} // namespace conclave::conformance
