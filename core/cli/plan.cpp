// conclave plan: time and memory of an experiment on a machine that need not be here.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "config/experiment.hpp"
#include "io/file_writer.hpp"
#include "launch/groups.hpp"
#include "plan/calibrate.hpp"
#include "plan/report.hpp"
#include "run/assemble.hpp"

namespace conclave {
namespace {

struct PlanArguments {
  std::string file, machine, calibrate;
  DeviceChoice device = DeviceChoice::automatic;
  std::vector<std::string> overrides;
  std::int64_t gpus = 0, most = 10;
  bool json = false;
};

/// The layout that is written, on as many ranks as `hardware` says or it needs.
Result<std::string> plan_written(const PlanArguments& arguments, const plan::Subject& subject,
                                 plan::ReportSubject& report) {
  const Experiment& experiment = *subject.experiment;
  if (experiment.parallel.automatic && experiment.hardware.gpus == 0)
    return invalid("`parallel: auto` waits for the number of GPUs", "set hardware.gpus, or search with --gpus");
  CONCLAVE_ASSIGN(const ParallelSizes sizes, layout_for(experiment, experiment.hardware.gpus));
  CONCLAVE_ASSIGN(const Mesh mesh, resolve_mesh(sizes, experiment.hardware.gpus, 0));
  CONCLAVE_ASSIGN(report.budget, plan::run_budget(subject, mesh));
  CONCLAVE_ASSIGN(const plan::LayoutPlan planned, plan::plan_layout_on(subject, mesh, report.machine));
  return arguments.json ? plan::plans_json({planned}, report) : plan::plan_text(planned, report);
}

Result<std::string> plan_best(const PlanArguments& arguments, const plan::Subject& subject,
                              plan::ReportSubject& report) {
  CONCLAVE_ASSIGN(report.budget, plan::run_budget(subject, {}));
  CONCLAVE_ASSIGN(const plan::LayoutSearch found, plan::search_layouts(subject, arguments.gpus, report.machine,
                                                                       static_cast<std::size_t>(arguments.most)));
  return arguments.json ? plan::plans_json(found.best, report) : plan::search_text(found, arguments.gpus, report);
}

const char* environment(const char* name) { return std::getenv(name); }

/// Links between the ranks of a launch, which one node holds all of or a node each.
Status add_links(const RankInfo& ranks, const Device& device, plan::Machine& machine) {
  constexpr std::chrono::seconds timeout{60};
  if (ranks.local_world_size != ranks.world_size && ranks.local_world_size != 1)
    return unsupported(std::to_string(ranks.world_size) + " ranks with " + std::to_string(ranks.local_world_size) +
                           " a node measure two kinds of links at once",
                       "start all on one node for the links within it, or one on each node for those between");
  CONCLAVE_ASSIGN(RendezvousSettings settings, resolve_rendezvous(ranks, environment));
  CONCLAVE_ASSIGN(const auto rendezvous, Rendezvous::join(std::move(settings)));
  CONCLAVE_ASSIGN(const Mesh mesh, resolve_mesh({}, ranks.world_size, ranks.rank));
  CONCLAVE_ASSIGN(const auto groups, make_groups(*rendezvous, mesh, ranks, device, timeout, nullptr));
  const plan::LinkRates link = plan::measure_link(groups->world(), device);
  const bool one_node = ranks.local_world_size == ranks.world_size;
  (one_node ? machine.within_node : machine.between_nodes) = link;
  if (one_node) machine.gpus_per_node = ranks.world_size;
  return rendezvous->leave();
}

/// Every rank measures itself, so that none waits for another one; the first one's figures are written.
Status calibrate(const PlanArguments& arguments) {
  CONCLAVE_ASSIGN(const RankInfo ranks, resolve_ranks(environment));
  CONCLAVE_ASSIGN(const OpenedDevice device, open_device(arguments.device, ranks.local_rank, false));
  try {
    plan::Machine machine = plan::measure_device(device);
    if (ranks.world_size > 1) CONCLAVE_RETURN_IF_ERROR(add_links(ranks, device.device, machine));
    if (ranks.rank != 0) return {};
    const std::string text = plan::machine_text(machine);
    CONCLAVE_RETURN_IF_ERROR(write_file_atomically(arguments.calibrate, text));
    std::fputs(text.c_str(), stdout);
    return {};
  } catch (const std::exception& problem) {
    const std::string text = problem.what();
    return unsupported(text.substr(0, text.find('\n')), "nothing else should use the device meanwhile", device.name);
  }
}

int execute(const PlanArguments& arguments, CliContext& context) {
  if (!arguments.calibrate.empty()) {
    const Status done = calibrate(arguments);
    return done.ok() ? 0 : report(done.error());
  }
  if (arguments.file.empty() || arguments.machine.empty())
    return report(invalid("plan wants an experiment and a machine",
                          "conclave plan FILE --machine FILE; the tree's are in "
                          "experiments/machines, and --calibrate writes one"));
  Diagnostics diagnostics;
  const auto machine = plan::read_machine(arguments.machine, diagnostics);
  const auto experiment = load_experiment(arguments.file, {arguments.overrides}, context.registry(), diagnostics);
  if (const int code = report(diagnostics); code != 0 || !experiment || !machine) return code;
  const auto plugins = assemble_plan(*experiment);
  if (!plugins.ok()) return report(plugins.error());
  plan::ReportSubject subject{*machine, {}, machine->rates(experiment->precision.compute).peak};
  const auto text = arguments.gpus > 0 ? plan_best(arguments, plugins->subject, subject)
                                       : plan_written(arguments, plugins->subject, subject);
  if (!text.ok()) return report(text.error());
  std::fputs(text->c_str(), stdout);
  return 0;
}

} // namespace

void add_plan_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* verb = app.add_subcommand("plan", "Say what a step takes on a machine, and find the fastest layout");
  verb->add_option("file", arguments->file, "The experiment's YAML");
  verb->add_option("--machine", arguments->machine, "The machine's YAML, such as those in experiments/machines");
  verb->add_option("--gpus", arguments->gpus, "Search the layouts of so many GPUs (default: the one that is written)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20));
  verb->add_option("--top", arguments->most, "How many of the best to show")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000}))
      ->capture_default_str();
  verb->add_option("--calibrate", arguments->calibrate, "Measure this machine instead, and write its file");
  verb->add_option("--device", arguments->device, "What is measured")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DeviceChoice>{
          {"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}}))
      ->option_text("auto|cpu|cuda");
  verb->add_flag("--json", arguments->json, "The figures as JSON");
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments, context); });
}

} // namespace conclave
