// conclave plugins: what is there, what each plugin's options are, and whether a library keeps its kind's contract.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/option_listing.hpp"
#include "cli/verbs.hpp"
#include "plugin/conformance/suite.hpp"
#include "plugin/library.hpp"
#include "run/assemble.hpp"

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

struct PluginsArguments {
  std::string kind, id, file, with, only;
  bool json = false, rescan = false;
};

PluginRegistry& registry_of(const PluginsArguments& arguments, CliContext& context) {
  context.rescan = arguments.rescan; // before its first use
  return context.registry();
}

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

void list_json(const std::vector<PluginRow>& rows) {
  Json all = Json::array();
  for (const PluginRow& row : rows)
    all.push_back({{"kind", row.kind},
                   {"id", row.id},
                   {"version", row.version},
                   {"summary", row.summary},
                   {"licence", row.licence},
                   {"file", row.file.string()},
                   {"state", row.state},
                   {"reason", row.reason}});
  print_json(all);
}

void list_text(const std::vector<PluginRow>& rows) {
  std::size_t id = 0, version = 0, state = 0, summary = 0, quarantined = 0;
  for (const PluginRow& row : rows) {
    quarantined += row.state == "quarantined";
    if (row.state == "quarantined") continue;
    id = std::max(id, row.id.size());
    version = std::max(version, row.version.size());
    state = std::max(state, row.state.size());
    summary = std::max(summary, row.summary.size());
  }
  for (const PluginRow& row : rows) {
    if (row.state == "quarantined") continue;
    print(padded(row.id, id) + "  " + padded(row.version, version) + "  " + padded(row.state, state) + "  " +
          padded(row.summary, summary) + "  " + row.file.string() + "\n");
    if (!row.reason.empty()) print("    " + row.reason + "\n");
  }
  if (quarantined == 0) return;
  print((quarantined == rows.size() ? "" : "\n") + std::string("Quarantined (not used; everything else works):\n"));
  for (const PluginRow& row : rows)
    if (row.state == "quarantined") print("  " + row.file.string() + "\n    " + row.reason + "\n");
}

void list(const PluginsArguments& arguments, CliContext& context) {
  std::vector<PluginRow> rows = registry_of(arguments, context).rows();
  if (!arguments.kind.empty()) std::erase_if(rows, [&](const PluginRow& row) { return row.kind != arguments.kind; });
  if (arguments.json) {
    list_json(rows);
  } else if (rows.empty()) {
    print("No plugins" + (arguments.kind.empty() ? std::string() : " of kind " + arguments.kind) +
          ". The plugin path is:\n");
    for (const auto& folder : default_plugin_path(context.executable)) print("  " + folder.string() + "\n");
  } else {
    list_text(rows);
  }
}

void show(const PluginsArguments& arguments, CliContext& context) {
  PluginRegistry& registry = registry_of(arguments, context);
  const std::string text = registry.description_json(arguments.id);
  if (text.empty()) { // the reasons why not are find()'s to tell
    const auto found = registry.find(arguments.id);
    context.exit_code = report(found.ok() ? internal_error("has no description", arguments.id) : found.error());
    return;
  }
  Json plugin = Json::parse(text);
  plugin["file"] = registry.file_of(arguments.id).string();
  plugin["sha256"] = registry.sha256_of(arguments.id);
  add_option_texts(plugin["options"]);
  if (arguments.json) return print_json(plugin);
  print(plugin.value("id", "") + " " + plugin.value("version", "") + " (" + plugin.value("licence", "") + ")\n" +
        plugin.value("summary", "") + "\n" + plugin.value("file", "") + "\n\n");
  const Json& options = plugin["options"];
  if (options.empty()) return print("It has no options.\n");
  print("Options (under `with:`):\n");
  print_options(options, "  ");
  print("\nAs a block of an experiment, with every default written out:\n  {use: " + plugin.value("id", "") +
        ", with: {");
  bool first = true;
  for (const Json& option : options) {
    print((first ? "" : ", ") + option.value("name", "") + ": " +
          (option.value("required", false) ? "<" + option.value("type", "") + ">" : option.value("default", "")));
    first = false;
  }
  print("}}\n");
}

void check(const PluginsArguments& arguments, CliContext& context) {
  ConformanceRequest request;
  request.self = context.executable;
  request.file = arguments.file;
  request.with = arguments.with;
  request.only = arguments.only;
  request.plugin_path = default_plugin_path(context.executable);
  request.probe_cache = default_cache_directory() / "probe";
  const auto report_of = run_conformance(request);
  if (!report_of.ok()) {
    context.exit_code = report(report_of.error());
    return;
  }
  int failed = 0, skipped = 0, passed = 0;
  Json all = Json::array();
  for (const CaseResult& result : *report_of) {
    failed += result.outcome == CaseOutcome::failed;
    skipped += result.outcome == CaseOutcome::skipped;
    passed += result.outcome == CaseOutcome::passed;
    if (arguments.json) {
      all.push_back({{"plugin", result.plugin},
                     {"case", result.name},
                     {"outcome", to_string(result.outcome)},
                     {"detail", result.detail}});
      continue;
    }
    print(padded(to_string(result.outcome), 8) + padded(result.plugin, 28) + " " + result.name +
          (result.detail.empty() ? "" : ": " + result.detail) + "\n");
  }
  if (arguments.json) {
    print_json(all);
  } else {
    print(std::to_string(passed) + " passed, " + std::to_string(failed) + " failed, " + std::to_string(skipped) +
          " skipped\n");
  }
  context.exit_code = failed > 0 ? exit_code(Code::unsupported) : 0;
}

} // namespace

void add_plugins_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<PluginsArguments>();
  const std::vector<std::string> kinds(plugin_kinds.begin(), plugin_kinds.end());
  CLI::App* verb = app.add_subcommand("plugins", "List plugins; show one's options; check a library");
  verb->add_option("--kind", arguments->kind, "Only plugins of this kind")->check(CLI::IsMember(kinds));
  verb->add_flag("--json", arguments->json, "Print JSON");
  verb->add_flag("--rescan", arguments->rescan, "Probe every library again, whatever the cache knows");
  verb->callback([verb, arguments, &context] {
    if (verb->get_subcommands().empty()) list(*arguments, context);
  });

  CLI::App* one = verb->add_subcommand("show", "Print a plugin's option table");
  one->add_option("id", arguments->id, "The plugin, e.g. KIND/NAME")->required();
  one->add_flag("--json", arguments->json, "Print JSON");
  one->callback([arguments, &context] { show(*arguments, context); });

  CLI::App* suite = verb->add_subcommand(
      "check", "Run the kind's conformance suite on a plugin library, each case in its own process");
  suite->add_option("file", arguments->file, "The library")->required();
  suite->add_option("--with", arguments->with, "Options for its instances as one YAML map, e.g. '{paths: [a.txt]}'");
  suite->add_option("--case", arguments->only, "Only cases whose name contains this");
  suite->add_flag("--json", arguments->json, "Print JSON");
  suite->callback([arguments, &context] { check(*arguments, context); });
}

} // namespace conclave
