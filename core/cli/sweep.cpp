// conclave sweep: the members of an experiment's `sweep:` block, one after another, or as an array of Slurm jobs.
//
// A member is an ordinary run, started as `conclave run FILE --member NAME` in a folder of its own; nothing is left here but
// the order. Members that are finished are skipped, so the same command goes on after whatever ended the sweep.

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "compare/run_facts.hpp"
#include "config/experiment.hpp"
#include "io/file_writer.hpp"
#include "launch/supervisor.hpp"
#include "run/closing_words.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

struct SweepArguments {
  std::string file, folder, device = "auto", slurm;
  std::vector<std::string> overrides;
  int ranks = 1;
  bool list = false, quiet = false;
};

struct Member {
  std::string name;
  fs::path folder;
  bool finished = false, begun = false; ///< begun: it has a checkpoint to go on from
};

bool has_checkpoint(const fs::path& run) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", error))
    if (fs::exists(entry.path() / "manifest.json", error)) return true;
  return false;
}

/// What each member left behind. A finished run of another experiment in its place is an error: it would pass for this one.
Result<std::vector<Member>> look(const SweepArguments& arguments, const Experiment& experiment, const fs::path& root,
                                 PluginRegistry& registry, Diagnostics& diagnostics) {
  std::vector<Member> members;
  for (const SweepMember& known : experiment.sweep) {
    Diagnostics own;
    const auto bound = load_experiment(arguments.file, {arguments.overrides, known.name}, registry, own);
    for (Diagnostic found : own.all()) {
      if (found.severity != Severity::error) continue; // hints are `check`'s
      found.what += " (member " + known.name + ")";
      diagnostics.add(std::move(found));
    }
    Member member{known.name, root / known.name};
    if (const auto facts = compare::read_facts(member.folder); bound && facts.ok() && !facts->config_hash.empty()) {
      if (facts->config_hash != bound->hash)
        return invalid("holds a run of another experiment than the sweep's member of that name",
                       "choose another folder with --dir, or remove it", member.folder.string());
      member.finished = facts->state == compare::RunState::finished;
    }
    member.begun = has_checkpoint(member.folder);
    members.push_back(std::move(member));
  }
  return members;
}

const char* state_of(const Member& member) {
  return member.finished ? "finished" : member.begun ? "to go on" : "to run";
}

int run_members(const SweepArguments& arguments, const CliContext& context, const std::vector<Member>& members) {
  int code = 0;
  std::size_t number = 0, failed = 0;
  for (const Member& member : members) {
    ++number;
    std::printf("[%zu/%zu] %s: %s%s\n", number, members.size(), member.name.c_str(), member.folder.c_str(),
                member.finished ? " is finished"
                : member.begun  ? ", going on"
                                : "");
    std::fflush(stdout);
    if (member.finished) continue;
    SupervisorSettings settings;
    settings.ranks = arguments.ranks;
    settings.command = {context.executable.string(), "run",      arguments.file,  "--member", member.name, "--run-dir",
                        member.folder.string(),      "--device", arguments.device};
    if (arguments.quiet) settings.command.emplace_back("--quiet");
    if (member.begun) settings.command.emplace_back("--resume");
    for (const std::string& override_ : arguments.overrides)
      settings.command.insert(settings.command.end(), {"--set", override_});
    const int ended = supervise(settings);
    if (ended == exit_code(Code::stopped)) {
      std::fprintf(stderr, "Stopped in %s; the same command goes on there.\n", member.name.c_str());
      return ended;
    }
    if (ended == 0) continue;
    std::fprintf(stderr, "%s ended with %d; going on with the others\n", member.name.c_str(), ended);
    if (code == 0) code = ended;
    ++failed;
  }
  if (failed > 0)
    std::fprintf(stderr, "%zu of %zu members failed; the same command tries them again\n", failed, members.size());
  return code;
}

/// A job array over what is not finished, each task a run as tools/launch/slurm/train.sbatch does it.
std::string slurm_script(const SweepArguments& arguments, const std::string& name, const std::vector<Member>& members) {
  std::string names, folders;
  std::size_t count = 0;
  for (const Member& member : members) {
    if (member.finished) continue;
    names += "  " + shell_word(member.name) + "\n";
    folders += "  " + shell_word(member.folder.string()) + "\n";
    ++count;
  }
  std::string command = shell_word(arguments.file) + " --member \"${members[SLURM_ARRAY_TASK_ID]}\"";
  for (const std::string& override_ : arguments.overrides) command += " --set " + shell_word(override_);
  return "#!/bin/bash\n"
         "# The sweep " +
         name +
         ": a task for each member that was not finished when this was written. In the checkout:\n"
         "#\n"
         "#   sbatch FILE                         all at once\n"
         "#   sbatch --array=0-" +
         std::to_string(count - 1) +
         "%4 FILE              four at a time\n"
         "#\n"
         "# Each task is tools/launch/slurm/train.sbatch with a run directory of its own, and is requeued by itself.\n"
         "# `conclave prepare FILE` beforehand saves the tasks the wait for the first one's data.\n"
         "#\n"
         "#SBATCH --job-name=" +
         name +
         "\n"
         "#SBATCH --array=0-" +
         std::to_string(count - 1) +
         "\n"
         "#SBATCH --nodes=1\n"
         "#SBATCH --ntasks-per-node=8\n"
         "#SBATCH --gpus-per-node=8\n"
         "#SBATCH --cpus-per-task=8\n"
         "#SBATCH --time=24:00:00\n"
         "#SBATCH --output=slurm-%x-%A-%a.log\n"
         "#SBATCH --open-mode=append\n"
         "#SBATCH --requeue\n"
         "#SBATCH --signal=B:USR1@120\n"
         "members=(\n" +
         names +
         ")\n"
         "folders=(\n" +
         folders +
         ")\n"
         "export RUN_DIR=${folders[${SLURM_ARRAY_TASK_ID:?start it with sbatch}]}\n"
         "set -- " +
         command +
         "\n"
         ". \"$SLURM_SUBMIT_DIR/tools/launch/slurm/train.sbatch\"\n";
}

int execute(const SweepArguments& arguments, CliContext& context) {
  Diagnostics diagnostics;
  PluginRegistry& registry = context.registry();
  const auto experiment = load_experiment(arguments.file, {arguments.overrides}, registry, diagnostics);
  if (const int code = report(diagnostics); code != 0 || !experiment) return code;
  if (experiment->sweep.empty())
    return report(invalid("has no sweep: block",
                          "add one, such as sweep: {grid: {optimizer.with.lr: [1e-3, 3e-3]}, seeds: 3}",
                          arguments.file));
  const fs::path root = arguments.folder.empty() ? fs::path("runs") / experiment->name : fs::path(arguments.folder);
  Diagnostics of_members;
  const auto members = look(arguments, *experiment, root, registry, of_members);
  if (of_members.has_errors()) return report(of_members);
  if (!members.ok()) return report(members.error());
  std::size_t finished = 0;
  for (const Member& member : *members) finished += member.finished ? 1 : 0;
  if (arguments.list) {
    for (const Member& member : *members) std::printf("%-9s %s\n", state_of(member), member.folder.c_str());
    return 0;
  }
  if (!arguments.slurm.empty()) {
    if (finished == members->size()) {
      std::printf("All %zu members are finished: no script is needed.\n", finished);
      return 0;
    }
    const Status written = write_file_atomically(arguments.slurm, slurm_script(arguments, experiment->name, *members));
    if (!written.ok()) return report(written.error());
    std::printf("%s has %zu tasks: sbatch %s\n", arguments.slurm.c_str(), members->size() - finished,
                shell_word(arguments.slurm).c_str());
    return 0;
  }
  const int code = run_members(arguments, context, *members);
  if (code == 0)
    std::printf("All %zu members are finished. Compare them:\n  %s compare %s --html %s.html\n", members->size(),
                shell_word(context.executable.string()).c_str(), shell_word(root.string()).c_str(),
                shell_word(experiment->name).c_str());
  return code;
}

} // namespace

void add_sweep_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<SweepArguments>();
  CLI::App* verb = app.add_subcommand("sweep", "Run the members of an experiment's sweep: block, one after another");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--dir", arguments->folder, "Folder of the members' runs (default: runs/<name>)");
  verb->add_flag("--list", arguments->list, "Only name the members, and how far each is");
  verb->add_option("--slurm", arguments->slurm,
                   "Write a Slurm array script for those that are not finished, run nothing");
  verb->add_option("--set", arguments->overrides, "Override one value of every member: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->add_option("--device", arguments->device, "Where to train")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  verb->add_option("--ranks", arguments->ranks, "Ranks of each member, started on this machine")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_flag("--quiet", arguments->quiet, "Only warnings and errors of the members on the console");
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments, context); });
}

} // namespace conclave
