// conclave export: a run's weights in another tool's form.

#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "run/export_run.hpp"

namespace conclave {

void add_export_verb(CLI::App& app, CliContext& context) {
  struct Arguments {
    std::string source, dtype = "bf16";
    std::vector<std::string> to;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = app.add_subcommand("export", "Write a run's model for other tools");
  verb->add_option("source", arguments->source, "A run directory or a checkpoint folder")->required();
  verb->add_option("--to", arguments->to, "Form and folder: --to hf DIR")->required()->expected(2);
  verb->add_option("--dtype", arguments->dtype, "Type of the weights")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
  verb->callback([arguments, &context] {
    if (arguments->to[0] != "hf") {
      context.exit_code =
          report(invalid("'" + arguments->to[0] + "' is no form to export to", "hf is the one there is", "--to"));
      return;
    }
    Logger log(false);
    const Status status = export_run({arguments->source, arguments->to[1], arguments->dtype}, context.registry(), log);
    if (!status.ok()) context.exit_code = report(status.error());
  });
}

} // namespace conclave
