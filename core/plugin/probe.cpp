// The parent's and the child's end of a probe. They speak in JSON lines over the child's standard output (probe_wire.hpp):
//   {"begin": FILE}                      before the library is opened
//   {"file": FILE, "plugins": [...]}     it is fine
//   {"file": FILE, "problem": "...", "lasting": true}

#include "plugin/probe.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "plugin/child_process.hpp"
#include "plugin/descriptor_json.hpp"
#include "plugin/library.hpp"
#include "plugin/probe_wire.hpp"

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

// Loading the executable itself (with LibTorch, from a cold disk, on a busy machine) is not the plugin's fault.
constexpr double start_seconds = 180;

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of("\n ");
  if (end == std::string::npos) return {};
  const std::size_t newline = text.rfind('\n', end);
  const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
  return text.substr(begin, end + 1 - begin);
}

/// What one child said: an answer for each file it finished, and the file it was at.
struct Heard {
  std::map<std::string, ProbeResult> answers;
  std::string current;
};

} // namespace

std::vector<ProbeResult> probe(const std::filesystem::path& self, const std::vector<std::filesystem::path>& files,
                               double seconds_for_each) {
  std::vector<ProbeResult> results(files.size());
  for (std::size_t first = 0; first < files.size();) {
    std::vector<std::string> arguments{"--probe"};
    for (std::size_t i = first; i < files.size(); ++i) arguments.push_back(files[i].string());
    Heard heard;
    const auto outcome = run_child(self, arguments, start_seconds, [&](const std::string& line) -> double {
      const Json json = Json::parse(line, nullptr, false);
      if (json.is_object() && json.contains("begin")) {
        heard.current = json.value("begin", "");
        return seconds_for_each;
      }
      if (json.is_object() && json.contains("file"))
        if (auto answer = decode_probe(line)) heard.answers[json.value("file", "")] = std::move(*answer);
      return start_seconds; // for leaving the child's main(), destructors included
    });

    std::size_t next = first;
    while (next < files.size()) {
      const auto answer = heard.answers.find(files[next].string());
      if (answer == heard.answers.end()) break;
      results[next++] = std::move(answer->second);
    }
    if (next == files.size()) break;
    ProbeResult& bad = results[next];
    if (!outcome.ok()) {
      bad.problem = "could not be probed: " + outcome.error().render();
      bad.lasting = false;
    } else if (outcome->timed_out || next == first) {
      const bool began = heard.current == files[next].string();
      const std::string said = last_line(outcome->errors);
      const std::string how = outcome->describe();
      bad.problem = (began ? "probing it in a child process: " : "the child process that was to probe it: ") +
                    (how.empty() ? "it ended the process without an answer" : how) +
                    (said.empty() ? "" : " (it said: " + said + ")");
      bad.lasting = began && !outcome->from_outside();
    } else {
      first = next; // others had been opened before it: once more, alone in its child so far
      continue;
    }
    first = next + 1;
  }
  return results;
}

void limit_this_process(double cpu_seconds) {
  const auto limit = [](__rlimit_resource resource, rlim_t value) {
    rlimit now{};
    if (::getrlimit(resource, &now) != 0) return;
    now.rlim_cur = std::min(value, now.rlim_max);
    ::setrlimit(resource, &now);
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, static_cast<rlim_t>(std::ceil(cpu_seconds)));
  limit(RLIMIT_FSIZE, rlim_t{1} << 30);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  limit(RLIMIT_DATA, rlim_t{8} << 30);
#endif
}

void run_probe_mode(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "--probe") != 0) return;
  const AnswerPipe answers;
  const int files = argc - 2;
  limit_this_process(60.0 + 60.0 * files); // the parent's clock is the tighter one
  std::vector<std::unique_ptr<const PluginDescriptors>> kept;
  for (int i = 0; i < files; ++i) {
    const std::string file = argv[2 + i];
    answers.say(Json{{"begin", file}}.dump(-1, ' ', false, Json::error_handler_t::replace));
    bool missing_dependency = false;
    auto opened = open_library(file, &missing_dependency);
    ProbeResult result;
    if (opened.ok()) {
      for (const PluginDescriptor& descriptor : **opened)
        result.plugins.push_back({descriptor.info, descriptor.kind, describe_json(descriptor)});
      kept.push_back(std::move(opened).value());
    } else {
      Error error = opened.error();
      error.where.clear(); // the reader knows the file
      result.problem = error.render();
      result.lasting = !missing_dependency;
    }
    Json line = Json::parse(encode_probe(result));
    line["file"] = file;
    answers.say(line.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  // Without destructors of static objects: a plugin that crashes at exit has answered.
  std::fflush(nullptr);
  std::_Exit(0);
}

} // namespace conclave
