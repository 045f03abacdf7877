// Plans as text and as JSON: what a layout takes, and a table of layouts.
#pragma once

#include <string>

#include "plan/search.hpp"

namespace conclave::plan {

/// What a whole run computes.
struct RunBudget {
  double steps = 0, tokens_per_step = 0; ///< as many as a step may have
  double flops_per_token = 0;            ///< forward and backward, nothing computed again
};

/// The model's own count. Its refusal is the error of that.
Result<RunBudget> run_budget(const Subject& subject, const Mesh& mesh);

/// Rates of a plan that follow from its time.
struct PlanRates {
  double tokens_per_second = 0, mfu = 0, days = 0, gpu_hours = 0;
};
PlanRates rates_of(const LayoutPlan& plan, const RunBudget& budget, const FlopRate& peak);

/// What plans are read against.
struct ReportSubject {
  const Machine& machine;
  RunBudget budget;
  FlopRate peak; ///< of the compute type
};

/// Time, memory and traffic of one layout by part.
std::string plan_text(const LayoutPlan& plan, const ReportSubject& subject);
/// A row for each of the best, and the first as YAML to paste.
std::string search_text(const LayoutSearch& search, std::int64_t gpus, const ReportSubject& subject);
/// The same figures for programs: {schema: 1, machine, gpus, layouts: [...], ...}; seconds, bytes, shares of 1.
std::string plans_json(const std::vector<LayoutPlan>& plans, const ReportSubject& subject);

/// `parallel:` and `train:` of an experiment that runs the plan.
std::string yaml_of(const LayoutChoice& choice);

} // namespace conclave::plan
