// The parent's and the child's end of the conformance suite.

#include "plugin/conformance/suite.hpp"

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "config/yaml_reader.hpp"
#include "plugin/build_fingerprint.hpp"
#include "plugin/child_process.hpp"
#include "plugin/conformance/cases.hpp"
#include "plugin/guard.hpp"
#include "plugin/library.hpp"
#include "plugin/probe.hpp"
#include "plugin/registry.hpp"

namespace conclave {
namespace {

using Json = nlohmann::json;
using conformance::Case;
using conformance::Subject;

constexpr const char* child_flag = "--conformance-case";
constexpr const char* started = "started"; // the child's first line: from here on its time counts
// Loading the executable itself (with LibTorch, from a cold disk, on a busy machine) is not the plugin's fault.
constexpr double start_seconds = 180;

/// What the child answers: {"outcome": "passed", "detail": ""}.
CaseResult from_child(const std::string& answer, const Result<ChildOutcome>& outcome) {
  CaseResult result;
  const Json json = Json::parse(answer, nullptr, false);
  if (json.is_object()) {
    const std::string word = json.value("outcome", "");
    result.detail = json.value("detail", "");
    if (word == "passed") result.outcome = CaseOutcome::passed;
    if (word == "skipped") result.outcome = CaseOutcome::skipped;
    // An answer followed by a crash is a destructor that failed.
    if (outcome.ok() && outcome->describe().empty()) return result;
    result.outcome = CaseOutcome::failed;
  }
  result.detail = outcome.ok() ? outcome->describe() : outcome.error().render();
  if (result.detail.empty()) result.detail = "the process ended without an answer";
  if (outcome.ok() && !outcome->errors.empty())
    result.detail += " (it said: " + outcome->errors.substr(0, outcome->errors.find_last_not_of('\n') + 1) + ")";
  return result;
}

/// What a child needs to run one case: its command line, in this order.
struct CaseArguments {
  std::string file, id, name, with, self, path, cache;
  static constexpr std::array members = {&CaseArguments::file, &CaseArguments::id,   &CaseArguments::name,
                                         &CaseArguments::with, &CaseArguments::self, &CaseArguments::path,
                                         &CaseArguments::cache};
};

CaseResult run_one(const ConformanceRequest& request, const std::string& id, const Case& test) {
  std::string path;
  for (const auto& folder : request.plugin_path) path += folder.string() + ":";
  const CaseArguments arguments{request.file.string(),       id, test.name, request.with, request.self.string(), path,
                                request.probe_cache.string()};
  std::vector<std::string> words{child_flag};
  for (const auto member : CaseArguments::members) words.push_back(arguments.*member);
  std::string answer;
  const auto outcome = run_child(request.self, words, start_seconds, [&](const std::string& line) -> double {
    if (line == started) return request.seconds_for_each;
    answer = line;
    return 0; // what is left also covers the process's end
  });
  CaseResult result = from_child(answer, outcome);
  result.plugin = id;
  result.name = test.name;
  return result;
}

/// Parses `--with`; null when it is empty.
Result<Value> parse_with(const std::string& text) {
  if (text.empty()) return Value();
  Diagnostics diagnostics;
  const auto tree = parse_yaml(text, "--with", diagnostics);
  if (diagnostics.has_errors() || !tree) return invalid("is no YAML: " + diagnostics.render(), {}, "--with");
  if (!tree->is_map()) return invalid("is no map of options", "write it as '{name: value}'", "--with");
  return *tree;
}

/// Finds nested plugins as a run does; the path is only searched when a case asks.
conformance::FindPlugin finder(const CaseArguments& arguments) {
  auto registry = std::make_shared<std::unique_ptr<PluginRegistry>>();
  return [registry, arguments](const std::string& id) {
    if (!*registry) {
      PluginRegistry::Settings settings;
      settings.path = split_plugin_path(arguments.path);
      settings.cache = arguments.cache;
      settings.self = arguments.self;
      *registry = std::make_unique<PluginRegistry>(std::move(settings));
      (*registry)->scan();
    }
    return (*registry)->find(id);
  };
}

Json run_case(const CaseArguments& arguments) {
  const std::string& id = arguments.id;
  const auto answer = [](const char* outcome, const std::string& detail) {
    return Json{{"outcome", outcome}, {"detail", detail}};
  };
  const auto library = open_library(arguments.file);
  if (!library.ok()) return answer("failed", library.error().render());
  const auto options = parse_with(arguments.with);
  if (!options.ok()) return answer("failed", options.error().render());
  for (const PluginDescriptor& descriptor : **library) {
    if (descriptor.info.id != id) continue;
    for (const Case& test : conformance::cases_of(descriptor.kind)) {
      if (arguments.name != test.name) continue;
      try {
        test.run(Subject{descriptor, *options, !arguments.with.empty(), finder(arguments)});
        return answer("passed", "");
      } catch (const conformance::CaseSkipped& skipped) {
        return answer("skipped", skipped.what());
      } catch (const conformance::CaseFailure& failure) {
        return answer("failed", failure.what());
      } catch (...) {
        return answer("failed", describe_current_exception(id.c_str(), "case").what);
      }
    }
  }
  return answer("failed", "no such plugin or case");
}

} // namespace

const char* to_string(CaseOutcome outcome) noexcept {
  switch (outcome) {
    case CaseOutcome::passed: return "passed";
    case CaseOutcome::failed: return "FAILED";
    case CaseOutcome::skipped: return "skipped";
  }
  return "?";
}

Result<std::vector<CaseResult>> run_conformance(const ConformanceRequest& asked) {
  ConformanceRequest request = asked;
  std::error_code failed;
  request.file = std::filesystem::canonical(asked.file, failed);
  if (failed) return invalid("there is no such file", "give the path of a plugin library", asked.file.string());
  CONCLAVE_RETURN_IF_ERROR(parse_with(request.with).status());

  std::vector<CaseResult> results;
  const std::string name = request.file.filename().string();
  const auto whole = [&](const char* test, const std::string& problem, const std::string& remark = {}) {
    results.push_back(
        {name, test, problem.empty() ? CaseOutcome::passed : CaseOutcome::failed, problem.empty() ? remark : problem});
    return problem.empty();
  };
  const auto fingerprint = read_fingerprint(request.file);
  if (!whole("carries a fingerprint", fingerprint.ok() ? "" : fingerprint.error().what)) return results;
  const FingerprintVerdict verdict = compare_fingerprints(*fingerprint, host_fingerprint());
  if (!whole("its fingerprint fits this host", verdict.fits() ? "" : verdict.render(), verdict.render()))
    return results;
  ProbeResult probed = probe(request.self, {request.file}, 10).front();
  for (const ProbedPlugin& plugin : probed.plugins)
    if (probed.problem.empty()) probed.problem = missing_tensor_note(*fingerprint, plugin.kind);
  if (!whole("opens within 10 s and describes its plugins", probed.problem)) return results;

  for (const ProbedPlugin& plugin : probed.plugins)
    for (const Case& test : conformance::cases_of(plugin.kind))
      if (request.only.empty() || std::strstr(test.name, request.only.c_str()))
        results.push_back(run_one(request, plugin.info.id, test));
  return results;
}

std::optional<int> run_conformance_mode(int argc, char** argv) {
  constexpr std::size_t words = CaseArguments::members.size();
  if (argc != static_cast<int>(words) + 2 || std::strcmp(argv[1], child_flag) != 0) return std::nullopt;
  CaseArguments arguments;
  for (std::size_t i = 0; i < words; ++i) arguments.*CaseArguments::members[i] = argv[i + 2];
  limit_this_process(600);
  const AnswerPipe parent;
  parent.say(started);
  parent.say(run_case(arguments).dump(-1, ' ', false, Json::error_handler_t::replace));
  return 0; // a normal exit: static destructors belong to what is tested
}

} // namespace conclave
