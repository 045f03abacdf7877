// What every plugin must do, whatever its kind; and the pieces all cases share.

#include <algorithm>

#include "config/yaml_reader.hpp"
#include "plugin/conformance/cases.hpp"
#include "plugin/library.hpp"

namespace conclave::conformance {

void require(bool condition, const std::string& otherwise) {
  if (!condition) throw CaseFailure(otherwise);
}

void require_ok(const Status& status, const std::string& doing) {
  if (!status.ok()) throw CaseFailure(doing + ": " + status.error().render());
}

namespace {

std::string required_options(const OptionTable& table) {
  std::string names;
  for (const OptionSpec& spec : table.specs())
    if (spec.required) names += (names.empty() ? "" : ", ") + spec.name;
  return names;
}

} // namespace

std::shared_ptr<Plugin> Subject::make(HostContext& host) const {
  const std::string missing = required_options(descriptor.options);
  if (!given && !missing.empty())
    throw CaseSkipped("it requires options (" + missing + "): give them with --with '{...}'");
  const testkit::MakeChild make_child = [&](const ChildRequest& request) -> Result<std::shared_ptr<Plugin>> {
    const auto found = find(request.id);
    if (!found.ok())
      throw CaseSkipped("its option " + request.key + " takes a plugin that is not there: " + found.error().render());
    return testkit::make_plugin(**found, host, request.with, {}, make_child);
  };
  auto made = testkit::make_plugin(descriptor, host, with, {}, make_child);
  if (made.ok()) return std::move(made).value();
  if (!given && made.error().code != Code::internal)
    throw CaseSkipped("it cannot be made with its defaults (" + made.error().what +
                      "): give options with --with '{...}'");
  throw CaseFailure("an instance cannot be made: " + made.error().render());
}

namespace {

void describes_itself(const Subject& subject) {
  const std::string problem = check_descriptor(subject.descriptor);
  require(problem.empty(), problem);
}

void require_docs(const std::vector<OptionSpec>& specs, const std::string& prefix) {
  for (const OptionSpec& spec : specs) {
    require(!spec.doc.empty(), "option " + prefix + spec.name + " has no doc");
    require_docs(spec.fields, prefix + spec.name + ".");
  }
}

void documents_every_option(const Subject& subject) { require_docs(subject.descriptor.options.specs(), ""); }

void defaults_are_what_the_table_says(const Subject& subject) {
  const OptionTable& table = subject.descriptor.options;
  const std::shared_ptr<void> fresh = table.make();
  for (const OptionSpec& spec : table.specs()) {
    if (spec.required || spec.type == OptionType::plugin) continue;
    const std::string actual = table.render(fresh.get(), spec.name);
    require(actual == spec.default_text,
            "option " + spec.name + " says its default is " + spec.default_text + " and has " + actual);
  }
}

/// Writing a default out must bind to the same value: resolved.yaml is re-runnable only then.
void defaults_bind_back(const Subject& subject) {
  const OptionTable& table = subject.descriptor.options;
  const std::shared_ptr<void> fresh = table.make();
  for (const OptionSpec& spec : table.specs()) {
    if (spec.required || spec.type == OptionType::plugin) continue;
    Diagnostics diagnostics;
    const auto tree =
        parse_yaml(spec.name + ": " + (spec.default_text.empty() ? "\"\"" : spec.default_text), "default", diagnostics);
    require(tree && !diagnostics.has_errors(),
            "the default of " + spec.name + ", " + spec.default_text + ", is no YAML");
    const std::shared_ptr<void> options = table.make();
    std::vector<ChildRequest> children;
    table.bind(*tree, "with", {"/"}, options.get(), diagnostics, children);
    for (const Diagnostic& found : diagnostics.all())
      require(found.severity != Severity::error || found.key != "with." + spec.name,
              "the default of " + spec.name + " is refused by its own option: " + found.render());
    const std::string before = table.render(fresh.get(), spec.name), after = table.render(options.get(), spec.name);
    // An empty path stays empty; any other is made absolute, which is its meaning.
    const bool path = spec.type == OptionType::path || spec.element == OptionType::path;
    require(before == after || path, "the default of " + spec.name + " is " + before + " and reads back as " + after);
  }
}

void refuses_unknown_options(const Subject& subject) {
  const auto bound = testkit::bind_options(subject.descriptor.options, testkit::map({{"surely_no_such_option", 1}}));
  const auto& all = bound.diagnostics.all();
  require(std::any_of(all.begin(), all.end(),
                      [](const Diagnostic& d) {
                        return d.severity == Severity::error &&
                               d.render().find("surely_no_such_option") != std::string::npos;
                      }),
          "an unknown option binds without an error that names it");
}

void given_options_bind(const Subject& subject) {
  if (!subject.given && !required_options(subject.descriptor.options).empty())
    throw CaseSkipped("it requires options (" + required_options(subject.descriptor.options) +
                      "): give them with --with '{...}'");
  const auto bound = testkit::bind_options(subject.descriptor.options, subject.with);
  require(bound.ok(), bound.diagnostics.render());
}

void instances_come_and_go(const Subject& subject) {
  testkit::FakeHost host({.phase = Phase::train, .plugin_id = subject.descriptor.info.id});
  const auto first = subject.make(host);
  auto second = subject.make(host);
  require(first != second, "two instances are one object");
  second.reset();
  for (int i = 0; i < 8; ++i) (void)subject.make(host);
}

} // namespace

std::vector<Case> generic_cases() {
  return {{"describes itself", describes_itself},
          {"documents every option", documents_every_option},
          {"defaults are what the table says", defaults_are_what_the_table_says},
          {"defaults bind back", defaults_bind_back},
          {"refuses unknown options", refuses_unknown_options},
          {"its options bind", given_options_bind},
          {"instances come and go", instances_come_and_go}};
}

std::vector<Case> cases_of(const std::string& kind) {
  std::vector<Case> cases = generic_cases();
  std::vector<Case> own;
  if (kind == "source") own = source_cases();
  if (kind == "filter") own = filter_cases();
  if (kind == "tokenizer") own = tokenizer_cases();
  if (kind == "scheduler") own = scheduler_cases();
  if (kind == "monitor") own = monitor_cases();
  if (kind == "checkpoint") own = checkpoint_cases();
  if (kind == "optimizer") own = optimizer_cases();
  if (kind == "model") own = model_cases();
  cases.insert(cases.end(), own.begin(), own.end());
  return cases;
}

std::vector<std::string> sample_texts() {
  const std::string prose =
      "The committee met in the small hall behind the library, and for once everybody came on time. There were three "
      "questions to settle before the winter: who keeps the keys, who pays for the coal, and whether the old piano "
      "stays. "
      "Nobody spoke for the piano at first. Then the youngest of them said that a house without music is only a "
      "roof.\n";
  const std::string code =
      "int main(int argc, char** argv) {\n\tfor (int i = 1; i < argc; ++i) {\n\t\tputs(argv[i]);  // each on a "
      "line\n\t}\n"
      "    return argc > 1 ? 0 : 1;\n}\n";
  std::string lengthy;
  for (int i = 0; i < 200; ++i) lengthy += "Paragraph " + std::to_string(i) + ". " + prose;
  const std::string scripts =
      "Sm\xc3\xb6rg\xc3\xa5sbord, na\xc3\xafvet\xc3\xa9, \xce\xb1\xce\xb2\xce\xb3, "
      "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e, \xf0\x9f\x8e\xb9.\n";
  return {"",
          " ",
          "word",
          prose,
          code,
          prose, // an exact duplicate
          prose + "One sentence more.\n",
          "- first\n- second\n- third\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
          scripts,
          std::string(5000, 'a'),
          "1 2 3 4 5 6 7 8 9 10 11 12\n13 14 15\n",
          lengthy};
}

} // namespace conclave::conformance
