// conclave compare: runs side by side.

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "compare/comparison.hpp"
#include "compare/find_runs.hpp"
#include "compare/report.hpp"
#include "io/file_writer.hpp"

namespace conclave {
namespace {

struct CompareArguments {
  std::vector<std::string> names;
  std::string root = "runs", page;
  compare::Options options;
  bool json = false, csv = false;
};

int execute(const CompareArguments& arguments) {
  if (!arguments.page.empty() && !compare::has_page())
    return report(unsupported("this build has no plotting library for the page",
                              "run tools/bootstrap, which fetches it, then tools/build", "--html"));
  const auto directories = compare::find_runs(arguments.names, arguments.root);
  if (!directories.ok()) return report(directories.error());
  const auto comparison = compare::compare(*directories, arguments.options);
  if (!comparison.ok()) return report(comparison.error());
  const std::string text = arguments.json  ? compare::to_json(*comparison)
                           : arguments.csv ? compare::to_csv(*comparison)
                                           : compare::to_text(*comparison);
  std::fputs(text.c_str(), stdout);
  if (arguments.page.empty()) return 0;
  const Status written = write_file_atomically(arguments.page, compare::to_html(*comparison));
  if (!written.ok()) return report(written.error());
  std::fprintf(stderr, "The page is %s: open it in a browser.\n", arguments.page.c_str());
  return 0;
}

} // namespace

void add_compare_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* verb = app.add_subcommand("compare", "Compare runs: what differs, how far each came, which is better");
  verb->add_option("runs", arguments->names, "Run directories, folders of them, glob patterns, or a sweep's name")
      ->required();
  verb->add_option("--baseline", arguments->options.baseline,
                   "What the others are held against: a group's letter, or a run's name (default: the first)");
  verb->add_option("--loss", arguments->options.target_loss,
                   "Training nll of tokens-to-loss and time-to-loss (default: one that all finished runs reach)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--runs", arguments->root, "Folder in which a sweep is looked for")->capture_default_str();
  CLI::Option* json = verb->add_flag("--json", arguments->json, "Print JSON, with a thinned curve of each run");
  verb->add_flag("--csv", arguments->csv, "Print a table with a row for each run")->excludes(json);
  verb->add_option("--html", arguments->page, "Also write one page with all curves");
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments); });
}

} // namespace conclave
