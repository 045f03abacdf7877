// conclave run: one experiment from text to checkpoint.

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/verbs.hpp"
#include "launch/ranks.hpp"
#include "launch/supervisor.hpp"
#include "run/assemble.hpp"
#include "run/run_experiment.hpp"

namespace conclave {
namespace {

struct RunArguments {
  std::string file, member, run_directory, resume_path, device = "auto", trace, step_record;
  int ranks = 0;
  std::vector<std::string> overrides;
  RunRequest request;
};

/// Of `--trace steps=N`; 0 = all, for `--trace` alone.
Result<std::int64_t> traced_steps(const std::string& text) {
  if (text.empty()) return std::int64_t{0};
  constexpr std::string_view key = "steps=";
  std::int64_t steps = 0;
  const char* end = text.data() + text.size();
  if (text.starts_with(key) && std::from_chars(text.data() + key.size(), end, steps).ptr == end && steps > 0)
    return steps;
  return invalid("'" + text + "' is nothing to trace", "write --trace, or --trace steps=3", "--trace");
}

void execute(const std::shared_ptr<RunArguments>& arguments, CliContext& context) {
  RunRequest& request = arguments->request;
  request.run_directory = arguments->run_directory;
  request.resume_path = arguments->resume_path;
  request.program = context.executable;
  request.overrides = arguments->overrides;
  request.device = arguments->device == "cpu"    ? DeviceChoice::cpu
                   : arguments->device == "cuda" ? DeviceChoice::cuda
                                                 : DeviceChoice::automatic;
  request.step_record = arguments->step_record;
  if (const auto steps = traced_steps(arguments->trace); steps.ok()) {
    request.trace_steps = *steps;
  } else {
    context.exit_code = report(steps.error());
    return;
  }
  Diagnostics diagnostics;
  PluginRegistry& registry = context.registry();
  const auto experiment =
      load_experiment(arguments->file, {arguments->overrides, arguments->member}, registry, diagnostics);
  const auto launched = resolve_ranks([](const char* name) -> const char* { return std::getenv(name); });
  // Hints are said once, by the parent of --ranks or by rank 0; an error by every rank that ends with it.
  const bool speaks = !launched.ok() || (launched->rank == 0 && launched->launcher != "conclave");
  if (speaks || diagnostics.has_errors()) context.exit_code = report(diagnostics);
  if (context.exit_code != 0 || !experiment) return;
  // What `check` would find, before hours of preparation; its hints are for `check`.
  Diagnostics assembled;
  // A layout that does not fit the ranks is the launch's fault as much as the experiment's: exit 3.
  const std::int64_t ranks = arguments->ranks > 0 ? arguments->ranks : launched.ok() ? launched->world_size : 1;
  const auto sizes = layout_for(*experiment, ranks);
  const Status folds = sizes.ok() ? resolve_mesh(*sizes, ranks, 0).status() : sizes.status();
  if (!folds.ok()) {
    context.exit_code = report(folds.error());
    return;
  }
  check_assembled(*experiment, assembled, ranks);
  if (assembled.has_errors()) {
    context.exit_code = report(assembled);
    return;
  }
  // What is wrong with the experiment is said once, before any rank is started; each rank reads it again.
  if (arguments->ranks > 1 && std::getenv("CONCLAVE_RANK") == nullptr) {
    SupervisorSettings settings;
    settings.ranks = arguments->ranks;
    settings.grace = std::chrono::milliseconds(
        static_cast<std::int64_t>((experiment->parallel.lost_after.value + 60) * 1000)); // the ranks know better why
    settings.command = {context.executable.string()};
    settings.command.insert(settings.command.end(), context.arguments.begin(), context.arguments.end());
    context.exit_code = supervise(settings);
    return;
  }
  context.exit_code = run_experiment(*experiment, registry, request);
}

} // namespace

void add_run_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* verb = app.add_subcommand("run", "Run an experiment: prepare its data, train, checkpoint");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--member", arguments->member, "Run this member of the experiment's sweep: block");
  verb->add_option("--run-dir", arguments->run_directory, "Folder of the run (default: runs/<name>-<UTC>-<hash>)");
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  CLI::Option* resume =
      verb->add_option("--resume", arguments->resume_path,
                       "Go on from a checkpoint or run directory; without a path, from the newest good checkpoint");
  resume->expected(0, 1);
  verb->add_option("--stop-after", arguments->request.stop_after, "Save after this step and end")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}));
  verb->add_option("--device", arguments->device, "Where to train")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->take_last()
      ->capture_default_str();
  verb->add_flag("--quiet", arguments->request.quiet, "Only warnings and errors on the console");
  verb->add_option("--ranks", arguments->ranks, "Start this many ranks on this machine and watch over them")
      ->check(CLI::Range(1, 4096));
  CLI::Option* trace = verb->add_option("--trace", arguments->trace,
                                        "Write a Chrome trace of every rank into the run directory; steps=N: of the "
                                        "first N steps");
  trace->expected(0, 1);
  verb->add_option("--step-record", arguments->step_record, "Write the exact numbers of every step, for verify")
      ->group("");
  verb->add_flag("--allow-change", arguments->request.allow_change,
                 "Resume although the experiment changed in what affects the numbers");
  verb->callback([arguments, resume, trace, &context] {
    arguments->request.resume = resume->count() > 0;
    arguments->request.trace = trace->count() > 0;
    execute(arguments, context);
  });
}

} // namespace conclave
