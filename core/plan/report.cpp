// Figures with three digits, one place for each.

#include "plan/report.hpp"

#include <cinttypes>
#include <cstdarg>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "plugin/guard.hpp"

namespace conclave::plan {
namespace {

[[gnu::format(printf, 1, 2)]] std::string format(const char* form, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, form);
  std::vsnprintf(text, sizeof text, form, arguments);
  va_end(arguments);
  return text;
}

std::string size_of_traffic(double bytes) { return size_text(static_cast<std::int64_t>(bytes)); }

/// "pipeline 2 x data 4 x tensor 1, experts over 4, micro-batch 2, 2 virtual stages, recompute".
std::string choice_text(const LayoutPlan& plan) {
  const LayoutChoice& choice = plan.choice;
  std::string text = describe(plan.mesh) + format(", micro-batch %" PRId64, choice.micro_batch);
  if (choice.virtual_stages > 1) text += format(", %d virtual stages", choice.virtual_stages);
  if (choice.recompute) text += ", recompute";
  if (!choice.shard_optimizer) text += ", optimizer not sharded";
  return text;
}

nlohmann::json json_of(const LayoutPlan& plan, const ReportSubject& subject) {
  const LayoutChoice& choice = plan.choice;
  const PlanRates rates = rates_of(plan, subject.budget, subject.peak);
  nlohmann::json parts, json;
  for (std::size_t part = 0; part < step_part_count; ++part)
    parts[to_string(static_cast<StepPart>(part))] = plan.time.parts[part];
  json["parallel"] = {{"pipeline", choice.sizes.pipeline},       {"data", choice.sizes.data},
                      {"tensor", choice.sizes.tensor},           {"expert", choice.sizes.expert},
                      {"virtual_stages", choice.virtual_stages}, {"shard_optimizer", choice.shard_optimizer}};
  json["train"] = {{"micro_batch", choice.micro_batch}, {"recompute", choice.recompute}};
  json["memory"] = {{"weights", plan.memory.weights},          {"gradients", plan.memory.gradients},
                    {"optimizer", plan.memory.optimizer},      {"activations", plan.memory.activations},
                    {"buffers", plan.memory.buffers},          {"outside_allocator", outside_allocator},
                    {"host_staging", plan.memory.host_staging}};
  json["fits"] = plan.bytes() <= subject.machine.gpu_memory;
  json["seconds"] = plan.time.seconds;
  json["parts"] = parts;
  json["sent_within_node"] = plan.time.sent.within_node;
  json["sent_between_nodes"] = plan.time.sent.between_nodes;
  json["bound"] = plan.time.bound;
  json["tokens_per_second"] = rates.tokens_per_second;
  json["mfu"] = rates.mfu;
  json["days"] = rates.days;
  json["gpu_hours"] = rates.gpu_hours;
  return json;
}

} // namespace

Result<RunBudget> run_budget(const Subject& subject, const Mesh& mesh) {
  const Experiment& experiment = *subject.experiment;
  CONCLAVE_ASSIGN(const ModelSummary summary, guard(experiment.model.id.c_str(), "summarize",
                                                    [&] { return subject.model->summarize(subject.shape, mesh); }));
  RunBudget budget;
  budget.steps = static_cast<double>(experiment.train.steps);
  budget.tokens_per_step =
      static_cast<double>(experiment.train.batch) * static_cast<double>(experiment.data.length.max);
  budget.flops_per_token = 3 * summary.forward_flops_per_token;
  return budget;
}

PlanRates rates_of(const LayoutPlan& plan, const RunBudget& budget, const FlopRate& peak) {
  const double gpus = plan.mesh.world_size(), seconds = plan.time.seconds;
  PlanRates rates;
  rates.tokens_per_second = budget.tokens_per_step / seconds;
  rates.mfu = rates.tokens_per_second * budget.flops_per_token / (gpus * peak.value);
  rates.days = budget.steps * seconds / 86400;
  rates.gpu_hours = budget.steps * seconds * gpus / 3600;
  return rates;
}

std::string plan_text(const LayoutPlan& plan, const ReportSubject& subject) {
  const PlanRates rates = rates_of(plan, subject.budget, subject.peak);
  const int gpus = plan.mesh.world_size();
  std::string text = format("%d x %s: ", gpus, subject.machine.name.c_str()) + choice_text(plan) + "\n";
  text += format("  a step %.4g s: %.4g tokens/s, %.1f %% MFU, bound by %s\n", plan.time.seconds,
                 rates.tokens_per_second, 100 * rates.mfu, plan.time.bound.c_str());
  text += format("  the run's %.4g tokens: %.3g days, %.4g GPU-hours\n",
                 subject.budget.tokens_per_step * subject.budget.steps, rates.days, rates.gpu_hours);
  text += "  time of the slowest rank:\n";
  for (std::size_t part = 0; part < step_part_count; ++part) {
    const double seconds = plan.time.parts[part];
    if (seconds > 0)
      text += format("    %-24s %8.3g s  %4.1f %%\n", to_string(static_cast<StepPart>(part)), seconds,
                     100 * seconds / plan.time.seconds);
  }
  if (gpus > 1)
    text += "  a GPU sends in a step: " + size_of_traffic(plan.time.sent.within_node) + " within its node, " +
            size_of_traffic(plan.time.sent.between_nodes) + " to others\n";
  text += "  memory of a GPU: " + arithmetic(plan.memory) + " of " + size_text(subject.machine.gpu_memory) +
          (plan.bytes() > subject.machine.gpu_memory ? ": does not fit\n"
           : static_cast<double>(plan.bytes()) > planned_share * static_cast<double>(subject.machine.gpu_memory)
               ? ": little is left for gaps in the allocator\n"
               : "\n");
  return text;
}

std::string search_text(const LayoutSearch& search, std::int64_t gpus, const ReportSubject& subject) {
  std::string text =
      format("%" PRId64 " x %s, %.4g tokens a step: %zu layouts fit, %zu are too large\n", gpus,
             subject.machine.name.c_str(), subject.budget.tokens_per_step, search.fitting, search.too_large);
  text += "    step s  tokens/s   MFU %   days  GPU-hours  memory   NVLink  network  bound by            layout\n";
  for (const LayoutPlan& plan : search.best) {
    const PlanRates rates = rates_of(plan, subject.budget, subject.peak);
    text += format("  %8.4g  %8.4g  %6.1f  %5.3g  %9.4g  %-7s  %-7s %-8s %-19s ", plan.time.seconds,
                   rates.tokens_per_second, 100 * rates.mfu, rates.days, rates.gpu_hours,
                   size_text(plan.bytes()).c_str(), size_of_traffic(plan.time.sent.within_node).c_str(),
                   size_of_traffic(plan.time.sent.between_nodes).c_str(), plan.time.bound.c_str()) +
            choice_text(plan) + "\n";
  }
  return text + "The first, to paste into the experiment:\n\n" + yaml_of(search.best.front().choice);
}

std::string plans_json(const std::vector<LayoutPlan>& plans, const ReportSubject& subject) {
  nlohmann::json layouts = nlohmann::json::array();
  for (const LayoutPlan& plan : plans) layouts.push_back(json_of(plan, subject));
  return nlohmann::json{{"schema", 1},
                        {"machine", subject.machine.name},
                        {"gpus", plans.front().mesh.world_size()},
                        {"tokens_per_step", subject.budget.tokens_per_step},
                        {"steps", subject.budget.steps},
                        {"layouts", layouts}}
             .dump(2) +
         "\n";
}

std::string yaml_of(const LayoutChoice& choice) {
  const auto word = [](bool on) { return on ? "true" : "false"; };
  return format("parallel: {pipeline: %" PRId64 ", data: %" PRId64 ", tensor: %" PRId64 ", expert: %" PRId64
                ", virtual_stages: %d, shard_optimizer: %s}\n",
                choice.sizes.pipeline, choice.sizes.data, choice.sizes.tensor, choice.sizes.expert,
                choice.virtual_stages, word(choice.shard_optimizer)) +
         format("train: {micro_batch: %" PRId64 ", recompute: %s}\n", choice.micro_batch, word(choice.recompute));
}

} // namespace conclave::plan
