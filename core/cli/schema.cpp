// conclave schema: the JSON Schema of experiments with every plugin that is loaded.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "cli/verbs.hpp"
#include "config/json_schema.hpp"

namespace conclave {
namespace {

void execute(const std::string& out, CliContext& context) {
  Diagnostics diagnostics;
  const std::string schema = json_schema(context.registry(), diagnostics);
  context.exit_code = report(diagnostics);
  if (out.empty()) {
    std::fputs(schema.c_str(), stdout);
    return;
  }
  std::error_code failed; // a folder that cannot be made shows when the file is opened
  if (const auto folder = std::filesystem::path(out).parent_path(); !folder.empty())
    std::filesystem::create_directories(folder, failed);
  std::ofstream file(out, std::ios::binary | std::ios::trunc);
  file << schema;
  file.flush();
  if (!file)
    context.exit_code =
        report(storage_error("cannot be written", "check the folder, its permissions and the free space", out));
}

} // namespace

void add_schema_verb(CLI::App& app, CliContext& context) {
  auto out = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("schema", "Print the JSON Schema of experiments, for editors");
  verb->add_option("--out", *out, "Write it to this file");
  verb->callback([out, &context] { execute(*out, context); });
}

} // namespace conclave
