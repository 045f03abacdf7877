// conclave profile: what the GPU spends a training step on.

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "run/assemble.hpp"
#include "run/run_experiment.hpp"

namespace conclave {
namespace {

struct ProfileArguments {
  std::string file, trace;
  std::vector<std::string> overrides;
  ProfileRequest profile;
};

int execute(const ProfileArguments& arguments, CliContext& context) {
  Diagnostics diagnostics;
  PluginRegistry& registry = context.registry();
  const auto experiment = load_experiment(arguments.file, {arguments.overrides}, registry, diagnostics);
  if (const int code = report(diagnostics); code != 0 || !experiment) return code;
  Diagnostics assembled;
  check_assembled(*experiment, assembled);
  if (assembled.has_errors()) return report(assembled);

  RunRequest request;
  request.program = context.executable;
  request.overrides = arguments.overrides;
  request.device = DeviceChoice::cuda;
  request.quiet = true;
  request.profile = arguments.profile;
  request.profile->trace = arguments.trace;
  request.run_directory = std::filesystem::temp_directory_path() / ("conclave-profile-" + std::to_string(getpid()));
  const int code = run_experiment(*experiment, registry, request);
  std::error_code ignored;
  std::filesystem::remove_all(request.run_directory, ignored);
  return code;
}

} // namespace

void add_profile_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* verb = app.add_subcommand("profile", "Show what the GPU spends a training step on");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--steps", arguments->profile.steps, "Steps to record; as many are timed before and after")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{100}))
      ->capture_default_str();
  verb->add_option("--trace", arguments->trace, "Write the recorded kernels and operators to this file, for Perfetto");
  verb->add_flag("--json", arguments->profile.json, "The table as JSON");
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments, context); });
}

} // namespace conclave
