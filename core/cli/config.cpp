// conclave config: the resolved values of an experiment, where one came from, how two experiments differ, and which
// options an experiment has beside those of its plugins.

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/option_listing.hpp"
#include "cli/verbs.hpp"
#include "config/experiment.hpp"
#include "config/explain.hpp"
#include "config/sections.hpp"
#include "plugin/descriptor_json.hpp"

namespace conclave {
namespace {

struct ConfigArguments {
  std::string file, other, key;
  std::vector<std::string> overrides;
};

// Loads and prints problems; sets the exit code when there is no experiment.
std::optional<Experiment> load(const std::string& file, const std::vector<std::string>& overrides,
                               CliContext& context) {
  Diagnostics diagnostics;
  auto experiment = load_experiment(file, {overrides}, context.registry(), diagnostics);
  if (const int code = report(diagnostics); code != 0) context.exit_code = code;
  return experiment;
}

void show(const ConfigArguments& arguments, CliContext& context) {
  if (const auto experiment = load(arguments.file, arguments.overrides, context))
    std::fputs(experiment->resolved_yaml.c_str(), stdout);
}

void explain(const ConfigArguments& arguments, CliContext& context) {
  const auto experiment = load(arguments.file, arguments.overrides, context);
  if (!experiment) return;
  const auto text = explain_key(*experiment, arguments.key);
  if (text.ok())
    std::fputs(text.value().c_str(), stdout);
  else
    context.exit_code = report(text.error());
}

void diff(const ConfigArguments& arguments, CliContext& context) {
  const auto a = load(arguments.file, arguments.overrides, context);
  const auto b = load(arguments.other, arguments.overrides, context);
  if (!a || !b) return;
  const std::string text = diff_settings(*a, *b);
  std::fputs(text.empty() ? "no differences\n" : text.c_str(), stdout);
}

/// The host's own option table, described as a plugin's is.
void options(bool json) {
  PluginDescriptor host;
  host.options = experiment_table();
  auto described = nlohmann::ordered_json::parse(describe_json(host))["options"];
  add_option_texts(described);
  if (json) return print_json(described);
  print_options(described, "");
  std::fputs("\n`conclave plugins show ID` prints those of a plugin, which stand under its `with:`.\n", stdout);
}

CLI::App* add_action(CLI::App& group, const std::string& name, const std::string& text,
                     const std::shared_ptr<ConfigArguments>& arguments) {
  CLI::App* action = group.add_subcommand(name, text);
  action->add_option("file", arguments->file, "The experiment's YAML")->required();
  action->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  return action;
}

} // namespace

void add_config_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<ConfigArguments>();
  CLI::App* group = app.add_subcommand("config", "Show, explain and compare experiments; list their options");
  group->require_subcommand(1);

  CLI::App* show_action = add_action(*group, "show", "Print every value with where it was written", arguments);
  show_action->callback([arguments, &context] { show(*arguments, context); });

  CLI::App* explain_action =
      add_action(*group, "explain", "Print where one value came from and what it replaced", arguments);
  explain_action->add_option("key", arguments->key, "Dotted key, e.g. optimizer.with.lr, or a section")->required();
  explain_action->callback([arguments, &context] { explain(*arguments, context); });

  CLI::App* diff_action =
      add_action(*group, "diff", "Print the values in which two experiments differ, by what they affect", arguments);
  diff_action->add_option("other", arguments->other, "The other experiment's YAML")->required();
  diff_action->callback([arguments, &context] { diff(*arguments, context); });

  auto json = std::make_shared<bool>(false);
  CLI::App* options_action = group->add_subcommand("options", "Print the options of an experiment's own sections");
  options_action->add_flag("--json", *json, "Print JSON");
  options_action->callback([json] { options(*json); });
}

} // namespace conclave
