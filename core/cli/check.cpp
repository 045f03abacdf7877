// conclave check: everything that can be said of an experiment without data, device or network.

#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "config/advice.hpp"
#include "config/experiment.hpp"
#include "run/assemble.hpp"

namespace conclave {
namespace {

// `4096 sequences of up to 2048 tokens`, and what the run amounts to.
void print_summary(const std::string& file, const Experiment& experiment) {
  const std::int64_t steps = experiment.train.steps, batch = experiment.train.batch,
                     length = experiment.data.length.max;
  const double step_tokens = static_cast<double>(batch) * static_cast<double>(length);
  std::printf("OK: %s: %s, hash %s\n", file.c_str(), experiment.name.c_str(), experiment.hash.substr(0, 12).c_str());
  std::printf("  %" PRId64 " steps of %" PRId64 " sequences of up to %" PRId64
              " tokens: up to %.4g tokens a step, %.4g in all\n",
              steps, batch, length, step_tokens, step_tokens * static_cast<double>(steps));
  std::string domains;
  double total = 0;
  for (const DomainSection& domain : experiment.data.domains) total += domain.share;
  for (const DomainSection& domain : experiment.data.domains) {
    char share[32];
    std::snprintf(share, sizeof share, " %.3g %%", 100 * domain.share / total);
    domains += (domains.empty() ? "" : ", ") + domain.name + share;
  }
  std::printf("  %s; %s; %s; %s\n", domains.c_str(), experiment.model.id.c_str(), experiment.optimizer.id.c_str(),
              experiment.scheduler.id.c_str());
  const ParallelSection& parallel = experiment.parallel;
  if (parallel.tensor > 1 || parallel.pipeline > 1 || parallel.expert > 1 || parallel.data > 1)
    std::printf("  ranks: pipeline %d x data %s x tensor %d, experts over %d\n", parallel.pipeline,
                parallel.data == 0 ? "auto" : std::to_string(parallel.data).c_str(), parallel.tensor, parallel.expert);
}

void execute(const std::string& file, const std::vector<std::string>& overrides, CliContext& context) {
  Diagnostics diagnostics;
  const auto experiment = load_experiment(file, {overrides}, context.registry(), diagnostics);
  if (experiment) {
    check_assembled(*experiment, diagnostics);
    add_path_hints(*experiment, diagnostics);
  }
  context.exit_code = report(diagnostics);
  if (context.exit_code == 0 && experiment) print_summary(file, *experiment);
}

} // namespace

void add_check_verb(CLI::App& app, CliContext& context) {
  auto file = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = app.add_subcommand("check", "Find every error of an experiment, without running it");
  verb->add_option("file", *file, "The experiment's YAML")->required();
  verb->add_option("--set", *overrides, "Override one value: a.b.c=value; repeatable")->take_all()->expected(1);
  verb->callback([file, overrides, &context] { execute(*file, *overrides, context); });
}

} // namespace conclave
