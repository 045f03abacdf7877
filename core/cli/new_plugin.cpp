// conclave new-plugin: an out-of-tree plugin from the templates in share/conclave/template.
//
// A template is a folder `<kind>/` with files whose names and text hold placeholders, plus `common/` for every kind:
//   @KIND@ filter   @NAME@ my-filter   @SNAKE@ my_filter   @CLASS@ MyFilter   @ID@ filter/my-filter
//   @PACKAGE_DIR@   folder of ConclaveConfig.cmake   @HOST@ this executable
// File names use SNAKE without the signs: `SNAKE_test.cpp`.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "cli/verbs.hpp"
#include "plugin/library.hpp"
#include "run/closing_words.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

struct NewPluginArguments {
  std::string kind, name, directory;
};

using Substitutions = std::map<std::string, std::string>;

std::string camel_case(const std::string& name) {
  std::string text;
  bool upper = true;
  for (const char c : name) {
    if (c == '-') {
      upper = true;
    } else {
      text += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      upper = false;
    }
  }
  return text;
}

std::string replaced(std::string text, const Substitutions& substitutions) {
  for (const auto& [word, value] : substitutions) {
    const std::string placeholder = "@" + word + "@";
    for (std::size_t at = 0; (at = text.find(placeholder, at)) != std::string::npos; at += value.size())
      text.replace(at, placeholder.size(), value);
  }
  return text;
}

/// The name becomes part of an id, a file, a class and a CMake target.
Status check_name(const std::string& name) {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  const bool fits = !name.empty() && name.front() >= 'a' && name.front() <= 'z' && name.back() != '-' &&
                    name.size() <= 64 && std::all_of(name.begin(), name.end(), good) &&
                    name.find("--") == std::string::npos;
  if (fits) return {};
  return invalid("'" + name + "' is no plugin name",
                 "use lower-case letters, digits and single dashes, e.g. my-filter, and begin with a letter");
}

Result<std::vector<fs::path>> template_files(const fs::path& folder) {
  std::error_code failed;
  std::vector<fs::path> files;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed))
    if (at->is_regular_file()) files.push_back(at->path());
  if (failed || files.empty())
    return unsupported("the templates are not there", "build the host again, or install it whole (cmake --install)",
                       folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

/// A template has classes of its own beside the plugin's.
Status check_class(const std::vector<fs::path>& files, const std::string& name) {
  for (const fs::path& file : files) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    for (const char* word : {"class ", "struct "})
      if (text.str().find(word + name + " ") != std::string::npos)
        return invalid("its class would be called " + name + ", as another one of the template", "choose another name");
  }
  return {};
}

Status write_file(const fs::path& from, const fs::path& to, const Substitutions& substitutions) {
  std::ifstream in(from, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return storage_error("cannot be read", {}, from.string());
  std::ofstream out(to, std::ios::binary);
  out << replaced(text.str(), substitutions);
  out.close();
  if (!out) return storage_error("cannot be written", "check the folder's rights and free space", to.string());
  return {};
}

Result<fs::path> create(const NewPluginArguments& arguments, const fs::path& executable) {
  CONCLAVE_RETURN_IF_ERROR(check_name(arguments.name));
  const fs::path prefix = executable.parent_path().parent_path();
  std::string snake = arguments.name;
  std::replace(snake.begin(), snake.end(), '-', '_');
  const fs::path directory =
      fs::absolute(arguments.directory.empty() ? fs::path(arguments.name) : fs::path(arguments.directory));
  std::error_code failed;
  if (fs::exists(directory, failed) && !fs::is_empty(directory, failed))
    return invalid("is there already and not empty", "give another folder with --dir", directory.string());

  std::vector<fs::path> files;
  for (const fs::path& folder :
       {prefix / "share/conclave/template/common", prefix / "share/conclave/template" / arguments.kind}) {
    CONCLAVE_ASSIGN(const std::vector<fs::path> found, template_files(folder));
    files.insert(files.end(), found.begin(), found.end());
  }
  CONCLAVE_RETURN_IF_ERROR(check_class(files, camel_case(arguments.name)));
  fs::create_directories(directory, failed);
  if (failed)
    return storage_error("cannot be made: " + failed.message(), "give another folder with --dir", directory.string());

  const Substitutions substitutions{
      {"KIND", arguments.kind},
      {"NAME", arguments.name},
      {"SNAKE", snake},
      {"CLASS", camel_case(arguments.name)},
      {"ID", arguments.kind + "/" + arguments.name},
      {"TENSOR", arguments.kind == "model" || arguments.kind == "optimizer" ? " TENSOR" : ""},
      {"PACKAGE_DIR", (prefix / "lib/cmake/Conclave").string()},
      {"HOST", executable.string()}};
  for (const fs::path& file : files) {
    std::string name = file.filename().string();
    if (const auto at = name.find("SNAKE"); at != std::string::npos) name.replace(at, 5, snake);
    CONCLAVE_RETURN_IF_ERROR(write_file(file, directory / name, substitutions));
  }
  return directory;
}

void run(const NewPluginArguments& arguments, CliContext& context) {
  const auto made = create(arguments, context.executable);
  if (!made.ok()) {
    context.exit_code = report(made.error());
    return;
  }
  const auto inside = [&made](const std::string& name) { return shell_word((*made / name).string()); };
  const std::string folder = shell_word(made->string()), build = inside("build");
  const std::string text = "Wrote " + arguments.kind + "/" + arguments.name + " to " + made->string() +
                           "\n\nBuild and test it:\n  cmake -S " + folder + " -B " + build + " && cmake --build " +
                           build + " && ctest --test-dir " + build +
                           " --output-on-failure\nCheck it as the host sees it:\n  " +
                           shell_word(context.executable.string()) + " plugins check " +
                           inside("build/plugins/" + arguments.kind + "-" + arguments.name + ".so") +
                           (arguments.kind == "source" ? " --with '{paths: [FILE]}'" : "") +
                           "\nUse it: put the block of " + (*made / "example.yaml").string() +
                           " into an experiment and run with\n  CONCLAVE_PLUGIN_PATH=" + inside("build/plugins") + "\n";
  std::fputs(text.c_str(), stdout);
  const std::string id = arguments.kind + "/" + arguments.name;
  if (const std::string holder = context.registry().file_of(id).string(); !holder.empty())
    std::fputs(("\nThe id " + id + " exists already, in " + holder +
                ": the first library on the plugin path hides the other. Choose another name if that is not meant.\n")
                   .c_str(),
               stdout);
}

} // namespace

void add_new_plugin_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<NewPluginArguments>();
  const std::vector<std::string> kinds(plugin_kinds.begin(), plugin_kinds.end());
  CLI::App* verb = app.add_subcommand("new-plugin", "Write the source, test and build file of a plugin of your own");
  verb->add_option("kind", arguments->kind, "What it is")->required()->check(CLI::IsMember(kinds));
  verb->add_option("name", arguments->name, "Its name in lower case with dashes, e.g. my-filter")->required();
  verb->add_option("--dir", arguments->directory, "Folder to make (default: the name, here)");
  verb->callback([arguments, &context] { run(*arguments, context); });
}

} // namespace conclave
