// conclave run: one experiment from text to checkpoint. conclave prepare: the data half of it.

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/verbs.hpp"
#include "run/assemble.hpp"
#include "run/run_experiment.hpp"

namespace conclave {
namespace {

struct RunArguments {
  std::string file, run_directory, resume_path, device = "auto";
  std::vector<std::string> overrides;
  RunRequest request;
};

void execute(const std::shared_ptr<RunArguments>& arguments, CliContext& context) {
  RunRequest& request = arguments->request;
  request.run_directory = arguments->run_directory;
  request.resume_path = arguments->resume_path;
  request.program = context.executable;
  request.overrides = arguments->overrides;
  request.device = arguments->device == "cpu"    ? DeviceChoice::cpu
                   : arguments->device == "cuda" ? DeviceChoice::cuda
                                                 : DeviceChoice::automatic;
  Diagnostics diagnostics;
  PluginRegistry& registry = context.registry();
  const auto experiment = load_experiment(arguments->file, {arguments->overrides}, registry, diagnostics);
  if (const int code = report(diagnostics); code != 0 || !experiment) {
    context.exit_code = code;
    return;
  }
  // What `check` would find, before hours of preparation; its hints are for `check`.
  Diagnostics assembled;
  check_assembled(*experiment, assembled);
  if (assembled.has_errors()) {
    context.exit_code = report(assembled);
    return;
  }
  context.exit_code = run_experiment(*experiment, registry, request);
}

} // namespace

void add_run_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* verb = app.add_subcommand("run", "Run an experiment: prepare its data, train, checkpoint");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
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
  verb->add_flag("--trace", arguments->request.trace, "Write trace.0.json (Chrome trace) into the run directory");
  verb->add_flag("--allow-change", arguments->request.allow_change,
                 "Resume although the experiment changed in what affects the numbers");
  verb->callback([arguments, resume, &context] {
    arguments->request.resume = resume->count() > 0;
    execute(arguments, context);
  });
}

void add_prepare_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* verb = app.add_subcommand("prepare", "Prepare an experiment's data and stop");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->add_flag("--quiet", arguments->request.quiet, "Only warnings and errors on the console");
  verb->callback([arguments, &context] {
    arguments->request.prepare_only = true;
    execute(arguments, context);
  });
}

} // namespace conclave
