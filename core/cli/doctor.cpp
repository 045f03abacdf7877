// conclave doctor: is this machine fit to train, and are all of a launch?
//
// Each family of checks runs in a process of its own, so that a disk or a driver that does not answer costs a line, not the
// report.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/verbs.hpp"
#include "conclave/build_info.hpp"
#include "doctor/all_reduce.hpp"
#include "doctor/clocks.hpp"
#include "doctor/devices.hpp"
#include "doctor/gpus.hpp"
#include "doctor/libraries.hpp"
#include "doctor/machine.hpp"
#include "doctor/ports.hpp"
#include "doctor/report.hpp"
#include "doctor/storage.hpp"
#include "launch/ranks.hpp"
#include "launch/rendezvous.hpp"
#include "launch/supervisor.hpp"
#include "plugin/child_process.hpp"
#include "run/assemble.hpp"

namespace conclave::doctor {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds collective_timeout = std::chrono::seconds(60);
constexpr std::chrono::seconds ranks_part{
    300}; ///< everything that ranks do together once all have looked at their nodes
constexpr int fit = 0, unfit = 3;

struct DoctorArguments {
  std::string expect, storage = ".", experiment, device = "auto", probe;
  std::vector<std::string> overrides;
  std::vector<int> ports;
  std::int64_t needed_storage = 0, needed_memory = 0; ///< bytes; handed to probes
  bool json = false;
};

DeviceChoice device_choice(const std::string& text) {
  return text == "cpu" ? DeviceChoice::cpu : text == "cuda" ? DeviceChoice::cuda : DeviceChoice::automatic;
}

std::optional<RankInfo> launched_ranks(int& code) {
  const auto ranks = resolve_ranks([](const char* name) -> const char* { return std::getenv(name); });
  if (ranks.ok()) return *ranks;
  code = report(ranks.error());
  return std::nullopt;
}

Result<std::unique_ptr<Rendezvous>> meet(const RankInfo& ranks) {
  CONCLAVE_ASSIGN(RendezvousSettings settings,
                  resolve_rendezvous(ranks, [](const char* name) -> const char* { return std::getenv(name); }));
  return Rendezvous::join(std::move(settings));
}

// ---- families, each in a process of its own ----

Checks probe_machine(const DoctorArguments&, const Expectation& expected) {
  return judge_machine(read_machine(), expected);
}

Checks probe_storage(const DoctorArguments& arguments, const Expectation& expected) {
  return judge_storage(read_storage(arguments.storage, {}), arguments.storage, arguments.needed_storage, expected);
}

Checks probe_gpus(const DoctorArguments& arguments, const Expectation& expected) {
  return judge_gpus(read_gpus(), CONCLAVE_BUILD_CUDA, arguments.needed_memory, expected);
}

Checks probe_libraries(const DoctorArguments& arguments, const Expectation&) {
  return judge_libraries(read_libraries(arguments.device != "cpu" && read_machine().gpus));
}

Checks probe_devices(const DoctorArguments&, const Expectation& expected) {
  return judge_devices(read_devices(), expected);
}

struct Family {
  const char* name;
  const char* title; ///< of the line when it does not answer
  double seconds;    ///< of processor time; six times as many on the clock
  bool needs_gpu;
  Checks (*probe)(const DoctorArguments&, const Expectation&);
};
constexpr std::array<Family, 5> families = {{
    {"machine", "machine", 5, false, probe_machine},
    {"storage", "storage", 15, false, probe_storage},
    {"gpus", "GPUs", 10, false, probe_gpus},
    {"libraries", "libraries", 15, false, probe_libraries},
    {"devices", "GPU copies", 20, true, probe_devices},
}};

void answer_with(const AnswerPipe& answer, const Checks& checks) {
  for (const Check& check : checks)
    answer.say(to_json(check).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

/// A rank that the probe "links" started; rank 0 answers.
int run_rank(const DoctorArguments& arguments, const Expectation& expected, const AnswerPipe& answer) {
  int code = fit;
  const auto ranks = launched_ranks(code);
  if (!ranks) return code;
  const auto rendezvous = meet(*ranks);
  if (!rendezvous.ok()) {
    if (ranks->rank == 0)
      answer_with(answer, {{"all-reduce", Verdict::fail, rendezvous.error().what, rendezvous.error().fix}});
    return fit;
  }
  const AllReduce sums =
      measure_all_reduce(**rendezvous, device_choice(arguments.device), collective_timeout, expected);
  if (ranks->rank == 0) answer_with(answer, {sums.check});
  if (sums.broken) _exit(fit);
  static_cast<void>((*rendezvous)->leave());
  return fit;
}

int run_probe(const DoctorArguments& arguments, const Expectation& expected) {
  const AnswerPipe answer;
  if (arguments.probe == "rank") return run_rank(arguments, expected, answer);
  for (const Family& family : families)
    if (arguments.probe == family.name) answer_with(answer, family.probe(arguments, expected));
  return fit;
}

// ---- the report of a node ----

std::vector<std::string> probe_command(const DoctorArguments& arguments, const std::string& probe) {
  std::vector<std::string> command = {"doctor",
                                      "--probe",
                                      probe,
                                      "--storage",
                                      arguments.storage,
                                      "--device",
                                      arguments.device,
                                      "--needed-storage",
                                      std::to_string(arguments.needed_storage),
                                      "--needed-memory",
                                      std::to_string(arguments.needed_memory)};
  if (!arguments.expect.empty()) command.insert(command.end(), {"--expect", arguments.expect});
  return command;
}

/// The lines of one process; what becomes of the process itself is a line, too.
Checks ask(const std::string& title, double seconds, const std::vector<std::string>& command, CliContext& context) {
  Checks checks;
  const auto outcome = run_child(context.executable, command, seconds, [&](const std::string& line) {
    if (auto check = check_from_json(line); check.ok()) checks.push_back(std::move(check).value());
    return 0.0;
  });
  const std::string fault = outcome.ok() ? outcome->describe() : outcome.error().what;
  if (!fault.empty()) {
    const std::string said = outcome.ok() ? outcome->errors.substr(0, outcome->errors.find('\n')) : "";
    checks.push_back({title, Verdict::fail, "its check " + fault + (said.empty() ? "" : ": " + said),
                      "what it looked at does not answer or crashes: `dmesg` may say why"});
  }
  return checks;
}

/// Ranks of this machine, a GPU each, that talk to each other.
int start_links(const DoctorArguments& arguments, CliContext& context, int gpus) {
  SupervisorSettings settings;
  settings.ranks = gpus;
  settings.grace = collective_timeout;
  settings.command = {context.executable.string()};
  const std::vector<std::string> command = probe_command(arguments, "rank");
  settings.command.insert(settings.command.end(), command.begin(), command.end());
  return supervise(settings);
}

/// How many of the machine's GPUs CUDA would take.
int visible(int gpus) {
  const char* chosen = std::getenv("CUDA_VISIBLE_DEVICES");
  if (chosen == nullptr) return gpus;
  const std::string list = chosen;
  return list.empty() ? 0 : std::min(gpus, 1 + static_cast<int>(std::count(list.begin(), list.end(), ',')));
}

Checks check_node(const DoctorArguments& arguments, bool alone, CliContext& context) {
  Checks checks;
  int gpus = 0;
  for (const Family& family : families) {
    if (family.needs_gpu && (gpus == 0 || arguments.device == "cpu")) continue;
    const Checks found = ask(family.title, family.seconds, probe_command(arguments, family.name), context);
    for (const Check& check : found)
      if (int seen = 0; check.name == "GPUs") { // its figure begins with their number, where there are some
        std::from_chars(check.figure.data(), check.figure.data() + check.figure.size(), seen);
        gpus = visible(seen);
      }
    checks.insert(checks.end(), found.begin(), found.end());
  }
  for (const int port : arguments.ports) checks.push_back(check_port(port));
  if (alone && gpus > 1 && arguments.device != "cpu") {
    std::vector<std::string> command = probe_command(arguments, "links");
    command.insert(command.end(), {"--gpus", std::to_string(gpus)});
    const Checks found = ask("all-reduce", 20, command, context);
    checks.insert(checks.end(), found.begin(), found.end());
  }
  return checks;
}

// ---- all nodes ----

void print(const std::vector<NodeChecks>& nodes, bool json) {
  std::fputs((json ? to_json(nodes) : render(nodes)).c_str(), stdout);
  std::fflush(stdout);
}

int verdict(const std::vector<NodeChecks>& nodes) { return count(nodes, Verdict::fail) > 0 ? unfit : fit; }

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this machine";
}

/// Ends the process when ranks hold each other up for longer than all of their parts may take.
class Patience {
 public:
  Patience(std::chrono::seconds limit, std::function<void()> last_words)
      : thread_([this, limit, last_words = std::move(last_words)](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          if (over_.wait_for(lock, stop, limit, [] { return false; }) || stop.stop_requested()) return;
          last_words();
          _exit(unfit);
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any over_;
  std::jthread thread_; // last: it uses the others
};

/// Ranks of one node speak for it together; what several say alike stands there once.
void add_node(NodeChecks node, std::vector<NodeChecks>& nodes) {
  const auto same =
      std::find_if(nodes.begin(), nodes.end(), [&](const NodeChecks& one) { return one.node == node.node; });
  if (same == nodes.end()) {
    nodes.push_back(std::move(node));
    return;
  }
  for (Check& check : node.checks)
    if (std::find(same->checks.begin(), same->checks.end(), check) == same->checks.end())
      same->checks.push_back(std::move(check));
}

/// Each node looks at itself, undisturbed by what the ranks do together afterwards; rank 0 prints all.
int check_ranks(const DoctorArguments& arguments, const Expectation& expected, const RankInfo& ranks,
                CliContext& context) {
  NodeChecks own{host_name(), {}};
  const auto alone = [&](const Error& error) {
    own.checks.push_back({"ranks", Verdict::fail, error.what, error.fix});
    print({own}, arguments.json);
    return unfit;
  };
  const auto met = meet(ranks);
  if (ranks.local_rank == 0) own.checks = check_node(arguments, false, context);
  if (!met.ok()) return alone(met.error());
  Rendezvous& rendezvous = **met;
  if (const Status looked = rendezvous.barrier("nodes"); !looked.ok()) return alone(looked.error());

  const Patience patience(ranks_part, [node = own, json = arguments.json]() mutable {
    node.checks.push_back({"ranks", Verdict::fail, "they have not come to an end within five minutes",
                           "run `conclave doctor` on each node by itself; NCCL_DEBUG=INFO shows what it waits for"});
    print({node}, json);
  });
  const milliseconds timeout = std::min(collective_timeout, rendezvous.settings().timeout);
  const auto exchange = rendezvous.connect("doctor", timeout);
  if (!exchange.ok()) return alone(exchange.error());
  const auto offset = measure_clock(**exchange);
  if (!offset.ok()) return alone(offset.error());
  const AllReduce sums = measure_all_reduce(rendezvous, device_choice(arguments.device), timeout, expected);
  if (ranks.rank == 0 || sums.broken) own.checks.push_back(sums.check);
  const auto offsets = (*exchange)->gather("offset", std::to_string(*offset));
  const auto packed = (*exchange)->gather("checks", own.checks.empty() ? "" : pack(own));
  if (!offsets.ok() || !packed.ok()) return alone(offsets.ok() ? packed.error() : offsets.error());

  std::vector<NodeChecks> nodes;
  if (ranks.rank == 0) {
    std::vector<double> seconds;
    for (const std::string& text : *offsets) seconds.push_back(std::strtod(text.c_str(), nullptr));
    for (const std::string& text : *packed) {
      if (text.empty()) continue;
      auto node = unpack(text);
      if (!node.ok()) return alone(node.error());
      add_node(std::move(node).value(), nodes);
    }
    nodes.front().checks.push_back(judge_clocks(seconds, rendezvous.hosts(), expected));
    print(nodes, arguments.json);
  }
  const auto code = (*exchange)->broadcast("code", std::to_string(verdict(nodes)));
  if (!code.ok()) return alone(code.error());
  const int ending = std::atoi(code->c_str());
  if (sums.broken) {
    static_cast<void>((*exchange)->barrier("end")); // the store lives until all have the code
    std::fflush(nullptr);
    _exit(ending);
  }
  static_cast<void>(rendezvous.leave());
  return ending;
}

/// What the experiment will need of this machine; false when it is wrong, which was told.
bool read_needs(DoctorArguments& arguments, CliContext& context) {
  Diagnostics diagnostics;
  const auto experiment = load_experiment(arguments.experiment, {arguments.overrides}, context.registry(), diagnostics);
  if ((context.exit_code = report(diagnostics)) != 0 || !experiment) return false;
  Diagnostics assembled;
  const RunNeeds needs = check_assembled(*experiment, assembled);
  if (assembled.has_errors()) {
    context.exit_code = report(assembled);
    return false;
  }
  arguments.needed_storage = needs.storage.sum();
  if (!needs.memory.empty()) arguments.needed_memory = plan::fullest(needs.memory).sum() + plan::outside_allocator;
  return true;
}

void examine(DoctorArguments& arguments, int gpus, CliContext& context) {
  Expectation expected;
  if (!arguments.expect.empty()) {
    Diagnostics diagnostics;
    const auto read = read_expectation(arguments.expect, diagnostics);
    context.exit_code = report(diagnostics);
    if (!read) return;
    expected = *read;
  }
  if (arguments.probe == "links") {
    context.exit_code = start_links(arguments, context, gpus);
    return;
  }
  if (!arguments.probe.empty()) {
    context.exit_code = run_probe(arguments, expected);
    return;
  }
  const auto ranks = launched_ranks(context.exit_code);
  if (!ranks) return;
  if (!arguments.experiment.empty() && !read_needs(arguments, context)) return;
  if (ranks->world_size > 1) {
    context.exit_code = check_ranks(arguments, expected, *ranks, context);
    return;
  }
  const NodeChecks node{host_name(), check_node(arguments, true, context)};
  print({node}, arguments.json);
  context.exit_code = verdict({node});
}

CLI::App* add_options(CLI::App& app, DoctorArguments& arguments, int& gpus) {
  CLI::App* verb = app.add_subcommand("doctor", "See whether this machine, or all of a launch, are fit to train");
  verb->add_option("--expect", arguments.expect, "YAML that says what each machine must have");
  verb->add_option("--storage", arguments.storage, "Folder that runs will write to: its speed and space are measured")
      ->capture_default_str();
  verb->add_option("--experiment", arguments.experiment, "An experiment: is there space and GPU memory for it?");
  verb->add_option("--set", arguments.overrides, "Override one value of the experiment: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->add_option("--port", arguments.ports, "A port that must be free; repeatable")->check(CLI::Range(1, 65535));
  verb->add_option("--device", arguments.device, "What ranks talk through; cpu leaves the GPUs alone")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  verb->add_flag("--json", arguments.json, "The report as JSON");
  // Between the processes of one doctor.
  verb->add_option("--probe", arguments.probe)->group("");
  verb->add_option("--gpus", gpus)->group("");
  verb->add_option("--needed-storage", arguments.needed_storage)->group("");
  verb->add_option("--needed-memory", arguments.needed_memory)->group("");
  return verb;
}

} // namespace
} // namespace conclave::doctor

void conclave::add_doctor_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<doctor::DoctorArguments>();
  auto gpus = std::make_shared<int>(0);
  doctor::add_options(app, *arguments, *gpus)->callback([arguments, gpus, &context] {
    doctor::examine(*arguments, *gpus, context);
  });
}
