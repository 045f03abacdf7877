// conclave: the command line. The verbs have files of their own; this one parses, dispatches and owns the plugin registry.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "conclave/build_info.hpp"
#include "plugin/conformance/suite.hpp"
#include "plugin/fault_handler.hpp"
#include "plugin/probe.hpp"
#include "run/assemble.hpp"

namespace conclave {

int report(const Diagnostics& diagnostics) {
  std::fputs(diagnostics.render().c_str(), stderr);
  return diagnostics.has_errors() ? exit_code(diagnostics.error_code()) : 0;
}

int report(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.render().c_str());
  if (error.code == Code::internal)
    std::fputs("This is a bug of Conclave or of a plugin: please report it with the command and the output.\n", stderr);
  return exit_code(error.code);
}

namespace {

/// The first word of the command line where a verb must stand and that is none: CLI11 only misses a verb then.
std::optional<Error> unknown_verb(const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  std::string path = "conclave";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::vector<const CLI::App*> verbs = at->get_subcommands([](const CLI::App*) { return true; });
    if (verbs.empty() || word.empty() || word.front() == '-') return std::nullopt;
    const auto found =
        std::find_if(verbs.begin(), verbs.end(), [&](const CLI::App* verb) { return verb->get_name() == word; });
    if (found == verbs.end()) {
      std::vector<std::string> names;
      for (const CLI::App* verb : verbs) names.push_back(verb->get_name());
      const std::string near = nearest_name(word, names);
      return invalid("there is no verb '" + word + "'",
                     near.empty() ? "`" + path + " --help` lists them" : "did you mean " + near + "?", path);
    }
    at = *found;
    path += " " + word;
  }
  return std::nullopt;
}

int run_command_line(int argc, char** argv) {
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  // Before anything else: these run plugin code in a bare process, without threads, CUDA or torch settings.
  run_probe_mode(argc, argv);
  if (const auto code = run_conformance_mode(argc, argv)) return *code;
  const FaultHandler fault_handler;

  std::optional<PluginRegistry> registry;
  CliContext context;
  context.executable = self;
  context.arguments.assign(argv + 1, argv + argc);
  context.registry = [&]() -> PluginRegistry& {
    if (!registry) {
      PluginRegistry::Settings settings;
      for (const auto& missing : missing_plugin_folders())
        std::fprintf(stderr, "CONCLAVE_PLUGIN_PATH: warning: %s is no folder: check its spelling\n", missing.c_str());
      settings.path = default_plugin_path(self);
      settings.cache = default_cache_directory() / "probe";
      settings.self = self;
      settings.rescan = context.rescan;
      registry.emplace(std::move(settings));
      registry->scan();
    }
    return *registry;
  };

  CLI::App app{"Conclave trains Mixture-of-Experts language models from one experiment file."};
  app.set_version_flag("--version",
                       std::string("conclave ") + CONCLAVE_BUILD_SDK_VERSION + ", torch " + CONCLAVE_BUILD_TORCH);
  app.require_subcommand(1);
  add_run_verb(app, context);
  add_check_verb(app, context);
  add_config_verb(app, context);
  add_schema_verb(app, context);
  add_plugins_verb(app, context);
  add_new_plugin_verb(app, context);
  add_prepare_verb(app, context);
  add_data_verb(app, context);
  add_export_verb(app, context);
  add_verify_verb(app, context);
  add_profile_verb(app, context);
  add_compare_verb(app, context);
  add_sweep_verb(app, context);
  add_doctor_verb(app, context);
  add_top_verb(app, context);
  add_plan_verb(app, context);
  if (const auto error = unknown_verb(app, argc, argv)) return report(*error);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // CLI11 numbers its own errors; ours say 2 for a wrong command line, and 0 for --help and --version.
    return app.exit(e) == 0 ? 0 : exit_code(Code::invalid_argument);
  }
  return context.exit_code;
}

} // namespace
} // namespace conclave

int main(int argc, char** argv) {
  try {
    return conclave::run_command_line(argc, argv);
  } catch (const std::exception& e) {
    return conclave::report(conclave::internal_error(e.what()));
  }
}
