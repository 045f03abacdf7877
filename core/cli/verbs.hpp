// The verbs of the command line: one function each that adds it to the parser, in a file of its own.
//
// A verb's callback does its work, prints to stdout (results) and stderr (problems), and sets context.exit_code. It does
// not call exit(): main() tears down in order.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conclave/value.hpp"
#include "plugin/registry.hpp"

namespace conclave {

struct CliContext {
  std::filesystem::path executable;
  std::vector<std::string> arguments;        ///< of this process, without its name
  std::function<PluginRegistry&()> registry; ///< scanned on first use
  bool rescan = false;                       ///< probe plugins again; set before the first use of the registry
  int exit_code = 0;
};

void add_run_verb(CLI::App& app, CliContext& context);
void add_check_verb(CLI::App& app, CliContext& context);
void add_config_verb(CLI::App& app, CliContext& context);
void add_schema_verb(CLI::App& app, CliContext& context);
void add_plugins_verb(CLI::App& app, CliContext& context);
void add_new_plugin_verb(CLI::App& app, CliContext& context);
void add_prepare_verb(CLI::App& app, CliContext& context);
void add_data_verb(CLI::App& app, CliContext& context);
void add_export_verb(CLI::App& app, CliContext& context);
void add_verify_verb(CLI::App& app, CliContext& context);
void add_profile_verb(CLI::App& app, CliContext& context);
void add_compare_verb(CLI::App& app, CliContext& context);
void add_sweep_verb(CLI::App& app, CliContext& context);
void add_doctor_verb(CLI::App& app, CliContext& context);
void add_top_verb(CLI::App& app, CliContext& context);
void add_plan_verb(CLI::App& app, CliContext& context);

/// Prints a diagnostics list to stderr; returns the exit code of its errors, 0 without any.
int report(const Diagnostics& diagnostics);
/// Prints `error: ...` to stderr and returns its exit code. An internal error says where to report it.
int report(const Error& error);

} // namespace conclave
