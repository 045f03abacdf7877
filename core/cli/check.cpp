// conclave check: everything that can be said of an experiment without data, device or network.

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "config/advice.hpp"
#include "config/experiment.hpp"
#include "run/assemble.hpp"

namespace conclave {
namespace {

// `web 50 %, code 50 %`, in the order of the domains.
std::string shares_text(const Experiment& experiment, const std::map<std::string, double>& shares) {
  std::string text;
  double total = 0;
  for (const auto& [name, share] : shares) total += share;
  for (const DomainSection& domain : experiment.data.domains) {
    char share[32];
    std::snprintf(share, sizeof share, " %.3g %%", 100 * shares.at(domain.name) / total);
    text += (text.empty() ? "" : ", ") + domain.name + share;
  }
  return text;
}

// A line for each stage of the curriculum: what it changes, and for how many steps.
void print_curriculum(const Experiment& experiment) {
  const auto& stages = experiment.data.curriculum;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const std::int64_t steps = experiment.train.steps, from = stages[i].from.resolve(steps);
    const std::int64_t end = i + 1 < stages.size() ? stages[i + 1].from.resolve(steps) : steps;
    const std::int64_t length = stages[i].length ? *stages[i].length : experiment.data.length.max;
    std::printf("  from step %" PRId64 ", for %" PRId64 " steps: up to %" PRId64 " tokens; %s\n", from,
                std::max<std::int64_t>(end - from, 0), length,
                stages[i].shares.empty() ? "shares as above" : shares_text(experiment, stages[i].shares).c_str());
  }
}

// `4096 sequences of up to 2048 tokens`, and what the run amounts to.
void print_summary(const std::string& file, const Experiment& experiment) {
  const std::int64_t steps = experiment.train.steps, batch = experiment.train.batch,
                     length = experiment.data.length.max;
  const double step_tokens = static_cast<double>(batch) * static_cast<double>(length);
  std::printf("OK: %s: %s, hash %s\n", file.c_str(), experiment.name.c_str(), experiment.hash.substr(0, 12).c_str());
  std::printf("  %" PRId64 " steps of %" PRId64 " sequences of up to %" PRId64
              " tokens: up to %.4g tokens a step, %.4g in all\n",
              steps, batch, length, step_tokens, step_tokens * static_cast<double>(steps));
  std::map<std::string, double> given;
  for (const DomainSection& domain : experiment.data.domains) given[domain.name] = domain.share;
  const MixtureRule rule = experiment.data.weights.rule;
  const std::string domains =
      rule == MixtureRule::given
          ? shares_text(experiment, given)
          : std::to_string(experiment.data.domains.size()) + " domains, shares by their sizes as " +
                (rule == MixtureRule::unimax ? "unimax" : "temperature") + " says: known when data is prepared";
  std::printf("  %s; %s; %s; %s\n", domains.c_str(), experiment.model.id.c_str(), experiment.optimizer.id.c_str(),
              experiment.scheduler.id.c_str());
  print_curriculum(experiment);
}

// One line for each rank of the pipeline, what a GPU there needs by part, and what the whole run needs of storage.
void print_needs(const Experiment& experiment, const RunNeeds& needs) {
  if (needs.memory.empty()) return;
  const std::string capacity =
      experiment.hardware.gpu_memory > 0 ? " of " + plan::size_text(experiment.hardware.gpu_memory) : "";
  std::printf("  %d rank%s: %s\n", needs.mesh.world_size(), needs.mesh.world_size() == 1 ? "" : "s",
              plan::describe(needs.mesh).c_str());
  std::printf("  memory of a GPU, experts chosen equally often:\n");
  for (std::size_t rank = 0; rank < needs.memory.size(); ++rank) {
    const std::string name = needs.memory.size() > 1 ? "pipeline rank " + std::to_string(rank) + ": " : "";
    std::printf("    %s%s%s\n", name.c_str(), plan::arithmetic(needs.memory[rank]).c_str(), capacity.c_str());
  }
  const plan::Memory& most = plan::fullest(needs.memory);
  if (!most.activations_known) std::printf("    the model does not say what its activations take\n");
  std::printf("  memory of its host, for checkpoints: %s a rank\n", plan::size_text(most.host_staging).c_str());
  const plan::Storage& storage = needs.storage;
  std::printf("  storage: checkpoints of %s x (%" PRId64 " kept + 1 under way) + prepared tokens of up to %s = %s%s\n",
              plan::size_text(storage.checkpoint).c_str(), storage.kept, plan::size_text(storage.tokens).c_str(),
              plan::size_text(storage.sum()).c_str(),
              experiment.hardware.storage > 0 ? (" of " + plan::size_text(experiment.hardware.storage)).c_str() : "");
}

// Errors of the sweep's members that the experiment itself does not have.
void check_members(const std::string& file, const std::vector<std::string>& overrides, const Experiment& experiment,
                   std::int64_t ranks, PluginCatalog& catalog, Diagnostics& diagnostics) {
  if (diagnostics.has_errors()) return;
  for (const SweepMember& member : experiment.sweep) {
    Diagnostics own;
    if (const auto bound = load_experiment(file, {overrides, member.name}, catalog, own))
      check_assembled(*bound, own, ranks);
    for (Diagnostic found : own.all()) {
      if (found.severity != Severity::error) continue;
      found.what += " (member " + member.name + ")";
      diagnostics.add(std::move(found));
    }
  }
}

void print_sweep(const Experiment& experiment) {
  constexpr std::size_t most = 4;
  if (experiment.sweep.empty()) return;
  std::string names;
  for (std::size_t i = 0; i < std::min(most, experiment.sweep.size()); ++i)
    names += (i > 0 ? " " : "") + experiment.sweep[i].name;
  std::printf("  sweep of %zu members: %s%s\n", experiment.sweep.size(), names.c_str(),
              experiment.sweep.size() > most ? " ..." : "");
}

void execute(const std::string& file, const std::vector<std::string>& overrides, std::int64_t ranks,
             CliContext& context) {
  Diagnostics diagnostics;
  const auto experiment = load_experiment(file, {overrides}, context.registry(), diagnostics);
  RunNeeds needs;
  if (experiment) {
    needs = check_assembled(*experiment, diagnostics, ranks);
    add_path_hints(*experiment, diagnostics);
  }
  if (experiment) check_members(file, overrides, *experiment, ranks, context.registry(), diagnostics);
  context.exit_code = report(diagnostics);
  if (context.exit_code != 0 || !experiment) return;
  print_summary(file, *experiment);
  print_sweep(*experiment);
  print_needs(*experiment, needs);
}

} // namespace

void add_check_verb(CLI::App& app, CliContext& context) {
  auto file = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  auto ranks = std::make_shared<std::int64_t>(0);
  CLI::App* verb = app.add_subcommand("check", "Find every error of an experiment, without running it");
  verb->add_option("file", *file, "The experiment's YAML")->required();
  verb->add_option("--ranks", *ranks, "Check its layout and memory on so many ranks (default: hardware.gpus)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20));
  verb->add_option("--set", *overrides, "Override one value: a.b.c=value; repeatable")->take_all()->expected(1);
  verb->callback([file, overrides, ranks, &context] { execute(*file, *overrides, *ranks, context); });
}

} // namespace conclave
