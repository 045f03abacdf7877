// conclave prepare: the data half of a run, by one process or by several that share it out.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "data/report_page.hpp"
#include "io/file_writer.hpp"
#include "launch/ranks.hpp"
#include "run/assemble.hpp"
#include "run/data_session.hpp"
#include "run/run_experiment.hpp"

namespace conclave {
namespace {

struct PrepareArguments {
  std::string file, task, page;
  std::vector<std::string> overrides;
  bool quiet = false, status = false;
};

void print_stage(const data::StageStatus& stage) {
  const char* state = stage.complete ? "made" : stage.units_done > 0 || !stage.claims.empty() ? "begun" : "missing";
  std::printf("%-9s %-28s %s", stage.stage.c_str(), stage.subject.c_str(), state);
  if (!stage.complete && stage.units > 1) std::printf(", %zu of %zu units", stage.units_done, stage.units);
  if (!stage.holder.empty()) std::printf(", by %s", stage.holder.c_str());
  std::printf("\n");
  for (const std::string& claim : stage.claims) std::printf("          at work, or killed: %s\n", claim.c_str());
}

int print_status(const Experiment& experiment) {
  const auto session = DataSession::open(experiment, /*quiet=*/true);
  if (!session.ok()) return report(session.error());
  const auto stages = data::prepare_status((*session)->request());
  if (!stages.ok()) return report(stages.error());
  std::printf("cache: %s\n", (*session)->request().cache.c_str());
  for (const data::StageStatus& stage : *stages) print_stage(stage);
  const bool corpus = stages->back().complete;
  const bool cut = stages->size() < 2 || !(*stages)[stages->size() - 2].complete;
  if (corpus)
    std::printf("The corpus is there: a run begins with it at once.\n");
  else if (cut)
    std::printf("What the stages after the last one listed need follows from it, so they are not looked for yet.\n");
  return 0;
}

int write_page(const Experiment& experiment, const std::string& path) {
  const auto session = DataSession::open(experiment, /*quiet=*/true);
  if (!session.ok()) return report(session.error());
  data::PrepareReport counts;
  const data::PrepareRequest& request = (*session)->request();
  const auto store = data::find_prepared(request, counts);
  if (!store.ok()) return report(store.error());
  const auto page = data::report_page(request, **store, counts, experiment.name);
  if (!page.ok()) return report(page.error());
  const Status written = write_file_atomically(path, *page);
  if (!written.ok()) return report(written.error());
  std::fprintf(stderr, "The page is %s: open it in a browser.\n", path.c_str());
  return 0;
}

int execute(const PrepareArguments& arguments, CliContext& context) {
  if (!arguments.page.empty() && !page::has_library())
    return report(unsupported("this build has no plotting library for the page",
                              "run tools/bootstrap, which fetches it, then tools/build", "--report"));
  RunRequest request;
  request.prepare_only = true;
  request.quiet = arguments.quiet;
  if (!arguments.task.empty()) {
    const auto task = resolve_task(arguments.task, [](const char* name) -> const char* { return std::getenv(name); });
    if (!task.ok()) return report(task.error());
    request.task = {task->index, task->count};
  }
  Diagnostics diagnostics;
  PluginRegistry& registry = context.registry();
  const auto experiment = load_experiment(arguments.file, {arguments.overrides}, registry, diagnostics);
  // Hints are said once, an error by every task that ends with it.
  const int code = request.task.index == 0 || diagnostics.has_errors() ? report(diagnostics) : 0;
  if (code != 0 || !experiment) return code;
  Diagnostics assembled; // what `check` would find, before hours of preparation; its hints are for `check`
  check_assembled(*experiment, assembled);
  if (assembled.has_errors()) return report(assembled);
  if (arguments.status) return print_status(*experiment);
  const int prepared = run_experiment(*experiment, registry, request);
  return prepared == 0 && !arguments.page.empty() ? write_page(*experiment, arguments.page) : prepared;
}

} // namespace

void add_prepare_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<PrepareArguments>();
  CLI::App* verb = app.add_subcommand("prepare", "Prepare an experiment's data and stop");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  CLI::Option* task = verb->add_option(
      "--task", arguments->task,
      "Be one of several that prepare together over one file system: 0/8 to 7/8, or `auto` for what the launcher says");
  verb->add_flag("--status", arguments->status, "Show what of the data is made, and make nothing")->excludes(task);
  verb->add_option("--report", arguments->page, "Also write a page: what each filter dropped, lengths, samples")
      ->excludes(task);
  verb->add_flag("--quiet", arguments->quiet, "Only warnings and errors on the console");
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments, context); });
}

} // namespace conclave
