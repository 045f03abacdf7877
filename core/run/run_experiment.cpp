// The life of one run.

#include "run/run_experiment.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "checkpoint/store.hpp"
#include "conclave/build_info.hpp"
#include "conclave/ops/backends.hpp"
#include "launch/ranks.hpp"
#include "plan/memory.hpp"
#include "plugin/guard.hpp"
#include "run/assemble.hpp"
#include "run/batch_report.hpp"
#include "run/closing_words.hpp"
#include "run/cluster.hpp"
#include "run/evaluation.hpp"
#include "run/peak_memory.hpp"
#include "run/prepare_progress.hpp"
#include "run/profile_steps.hpp"
#include "run/resume.hpp"
#include "run/run_directory.hpp"
#include "run/step_record.hpp"
#include "run/stop_signal.hpp"
#include "run/training_loop.hpp"

namespace conclave {
namespace fs = std::filesystem;

namespace {

at::ScalarType compute_type(Compute compute) {
  switch (compute) {
    case Compute::fp32: return at::kFloat;
    case Compute::bf16: return at::kBFloat16;
    case Compute::fp16: return at::kHalf;
    case Compute::fp64: return at::kDouble;
  }
  return at::kFloat;
}

/// In the run directory or a folder of a monitor in it.
bool has_event_files(const fs::path& directory) {
  const auto in = [](const fs::path& folder) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (entry.path().filename().string().starts_with("events.out.tfevents")) return true;
    return false;
  };
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (entry.is_directory(ignored) && in(entry.path())) return true;
  return in(directory);
}

/// Where the experiment uses the plugin of that id, with the id; `where` itself when it is no such id.
std::string place_of(const Experiment& experiment, const std::string& where) {
  for (const PluginBlock* block : {&experiment.model, &experiment.optimizer, &experiment.scheduler,
                                   &experiment.checkpoint, &experiment.data.tokenizer})
    if (*block && block->id == where && !block->where.render().empty()) return block->where.render() + ": " + where;
  return where;
}

class Run {
 public:
  Run(const Experiment& experiment, PluginRegistry& registry, const RunRequest& request, const Result<RankInfo>& ranks)
      : experiment_(experiment),
        registry_(registry),
        request_(request),
        ranks_(ranks),
        log_(request.quiet, ranks.ok() ? ranks->rank : 0, ranks.ok() ? ranks->launcher != "conclave" : false),
        trace_(request.trace, request.trace_steps) {}

  int execute() {
    auto outcome = caught_phases();
    int code = 0;
    std::string reason = "done";
    if (!outcome.ok() && outcome.error().code == Code::peer_lost && cluster_ != nullptr)
      outcome = cluster_->explain(outcome.error());
    if (cluster_ != nullptr) cluster_->begin_end();
    if (!outcome.ok()) {
      Error error = blame_library(outcome.error(), registry_.file_of(outcome.error().where).string());
      error.where = place_of(experiment_, error.where);
      code = exit_code(error.code);
      reason = error.render();
      if (error.code == Code::internal && error.fix.empty())
        reason += " (a bug: please report it with the run directory's log and record.json)";
      log_.write(LogLevel::error, {}, reason);
    } else {
      code = outcome.value().finished ? 0 : exit_code(outcome.value().code);
      if (!outcome.value().reason.empty()) reason = outcome.value().reason;
      if (!outcome.value().finished) log_.write(code == 75 ? LogLevel::info : LogLevel::error, {}, reason);
    }
    if (code != 0 && code != 75 && cluster_ != nullptr) cluster_->leave(code, reason); // before anybody waits for us
    // A checkpoint may still be on its way, and it has rows to flush.
    if (checkpoints_ != nullptr)
      if (const Status written = checkpoints_->wait(); !written.ok() && written.error().code != Code::peer_lost)
        log_.warning(written.error().render()); // who is lost has been said
    if (observer_ != nullptr) observer_->finish(code);
    const int rank = cluster_ != nullptr ? cluster_->rank() : 0;
    if (directory_ != nullptr) {
      write_trace(rank, outcome.ok());
      static_cast<void>(directory_->write_exit(rank, code, reason, step_)); // the run's own outcome matters more
      if (!request_.prepare_only && !request_.profile && outcome.ok() && rank == 0)
        say_closing_words(outcome.value(), code);
    }
    if (cluster_ != nullptr) cluster_->leave(code, reason);
    log_.flush();
    return code;
  }

 private:
  /// What the host's own code throws (out of memory, say) ends a run like any other error: monitors finish, exit.json tells.
  Result<LoopOutcome> caught_phases() {
    try {
      return phases();
    } catch (...) {
      return describe_current_exception(nullptr, nullptr);
    }
  }

  Result<LoopOutcome> phases() {
    CONCLAVE_RETURN_IF_ERROR(ranks_.status());
    CONCLAVE_ASSIGN(stop_, StopSignal::install());
    if (request_.prepare_only) {
      make_services();
      CONCLAVE_RETURN_IF_ERROR(prepare_data());
      LoopOutcome done;
      done.finished = true;
      return done;
    }
    CONCLAVE_RETURN_IF_ERROR(join_cluster());
    CONCLAVE_RETURN_IF_ERROR(open_directory());
    make_services();
    // A machine without what the run needs is told of before hours of preparation.
    CONCLAVE_RETURN_IF_ERROR(open_this_device());
    CONCLAVE_RETURN_IF_ERROR(prepare_on_all());
    CONCLAVE_RETURN_IF_ERROR(build_engine());
    if (request_.profile) return profile();
    CONCLAVE_RETURN_IF_ERROR(resume());
    CONCLAVE_RETURN_IF_ERROR(cluster_->all_well("monitors", start_monitors()));
    return train();
  }

  /// Meets the other ranks, and makes sure that all of them mean the same run.
  Status join_cluster() {
    Cluster::Settings settings;
    settings.ranks = *ranks_;
    CONCLAVE_ASSIGN(const ParallelSizes sizes, layout_for(experiment_, ranks_->world_size));
    CONCLAVE_ASSIGN(settings.mesh, resolve_mesh(sizes, ranks_->world_size, ranks_->rank));
    settings.timeout = std::chrono::duration<double>(experiment_.parallel.timeout.value);
    settings.lost_after = std::chrono::duration<double>(experiment_.parallel.lost_after.value);
    settings.log = &log_;
    if (trace_.on())
      settings.span = [this](const std::string& group, const char* operation, Trace::Clock::time_point begin,
                             Trace::Clock::time_point end) { trace_.add("over " + group, operation, begin, end); };
    settings.give_up = [this](const Error& error) { give_up(error); };
    CONCLAVE_ASSIGN(cluster_, Cluster::join(std::move(settings)));
    if (cluster_->alone()) return {};
    CONCLAVE_RETURN_IF_ERROR(cluster_->agree(
        "build of Conclave",
        std::string(CONCLAVE_BUILD_SDK_VERSION) + " " + CONCLAVE_BUILD_SDK_HASH + " " + CONCLAVE_BUILD_TORCH));
    for (const auto& [id, sha256] : plugin_hashes(experiment_, registry_))
      CONCLAVE_RETURN_IF_ERROR(cluster_->agree("plugin " + id, sha256));
    CONCLAVE_RETURN_IF_ERROR(cluster_->agree("experiment", experiment_.hash));
    return cluster_->agree("command line", std::string(request_.resume ? "resume " : "") +
                                               request_.resume_path.string() + " " +
                                               std::to_string(request_.stop_after));
  }

  /// On the watchdog's thread, when this rank hangs in something and another one is lost.
  void give_up(const Error& error) {
    log_.write(LogLevel::error, {}, error.render());
    if (directory_ != nullptr)
      static_cast<void>(directory_->write_exit(cluster_->rank(), exit_code(error.code), error.render(), step_));
    log_.flush();
  }

  void make_services() {
    HostServices::Settings services;
    services.log = &log_;
    services.seed = experiment_.seed;
    services.phase = Phase::prepare;
    if (cluster_ != nullptr) services.mesh = cluster_->mesh();
    services.worker_threads =
        experiment_.data.workers > 0 ? experiment_.data.workers : static_cast<int>(std::thread::hardware_concurrency());
    services.cache = default_cache_directory() / "plugins";
    services.scratch = directory_ != nullptr ? directory_->path() / "scratch" : default_cache_directory() / "scratch";
    services.stop = stop_->token();
    host_ = std::make_unique<HostServices>(std::move(services));
  }

  Status open_this_device() {
    auto opened = open_device(request_.device, ranks_->local_rank, experiment_.precision.deterministic);
    CONCLAVE_RETURN_IF_ERROR(cluster_->all_well("device", opened.status()));
    device_ = std::move(opened).value();
    if (!device_.fallback.empty()) log_.warning("training on the CPU although there is a driver: " + device_.fallback);
    return cluster_->agree("kind of device", device_.device.kind == Device::Kind::cuda ? "GPU" : "CPU");
  }

  /// One rank of each machine prepares, then the others find everything in the cache.
  Status prepare_on_all() {
    const bool first = ranks_->local_rank == 0;
    CONCLAVE_RETURN_IF_ERROR(cluster_->all_well("prepare", first ? prepare_data() : Status{}));
    if (cluster_->alone()) return {};
    CONCLAVE_RETURN_IF_ERROR(cluster_->all_well("prepared data", first ? Status{} : prepare_data()));
    CONCLAVE_RETURN_IF_ERROR(cluster_->agree("prepared data", store_->digest()));
    return cluster_->agree("order of the batches", plan_->digest());
  }

  /// Rank 0 makes or finds the folder, the others are told which.
  Status open_directory() {
    const bool first = cluster_->rank() == 0;
    CONCLAVE_RETURN_IF_ERROR(cluster_->all_well("run directory", first ? choose_directory() : Status{}));
    if (!cluster_->alone()) {
      const std::string own = first ? std::to_string(directory_->attempt()) + " " +
                                          fs::absolute(directory_->path()).string() + "\n" + resume_path_.string()
                                    : "";
      CONCLAVE_ASSIGN(const std::string told, cluster_->broadcast("run directory", own));
      if (!first) {
        const std::size_t space = told.find(' '), newline = told.find('\n');
        directory_ = RunDirectory::join(told.substr(space + 1, newline - space - 1), std::stoll(told.substr(0, space)));
        resume_path_ = told.substr(newline + 1);
      }
    }
    return cluster_->all_well("log",
                              log_.add_file(directory_->path() / ("log." + std::to_string(cluster_->rank()) + ".txt")));
  }

  Status choose_directory() {
    fs::path chosen = request_.run_directory;
    const fs::path root = "runs";
    resume_path_ = request_.resume_path;
    if (request_.resume) {
      if (!resume_path_.empty() && !fs::exists(resume_path_))
        return storage_error("there is nothing to resume from", "check the path given to --resume",
                             resume_path_.string());
      if (!resume_path_.empty() && !fs::exists(resume_path_ / "manifest.json") &&
          fs::exists(resume_path_ / "record.json")) {
        if (chosen.empty()) chosen = resume_path_;
        resume_path_.clear();
      } else if (!resume_path_.empty() && chosen.empty()) {
        chosen = fs::absolute(resume_path_).lexically_normal().parent_path().parent_path();
      }
      if (chosen.empty()) {
        CONCLAVE_ASSIGN(chosen, latest_run_directory(root, experiment_.name));
      }
      if (!fs::exists(chosen)) return storage_error("there is no run to resume", "check --run-dir", chosen.string());
    }
    CONCLAVE_ASSIGN(directory_, RunDirectory::open(experiment_, chosen, root, request_.resume));
    return {};
  }

  Status prepare_data() {
    const auto span = trace_.span("prepare");
    CONCLAVE_ASSIGN(auto request, assemble_prepare(experiment_, *host_));
    request.stop = stop_->token();
    request.task = request_.task;
    PrepareProgress progress(log_, request_.quiet);
    request.progress = [&progress](const char* stage, std::int64_t done, std::int64_t total, const char* unit) {
      progress.update(stage, done, total, unit);
    };
    request.notice = [this](const std::string& text) { log_.info("prepare: " + text); };
    data::PrepareReport report;
    auto prepared = data::prepare(request, report);
    progress.finish();
    if (!prepared.ok()) return prepared.error();
    store_ = std::move(prepared).value();
    tokenizer_ = request.tokenizer;
    if (request_.task.index != 0) return {}; // task 0 tells, and makes what the batches need
    for (const auto& line : describe_prepared(report, *store_)) log_.info(line);
    if (directory_ != nullptr && is_first()) CONCLAVE_RETURN_IF_ERROR(directory_->write_data_report(report));
    const Mesh mesh = cluster_ != nullptr ? cluster_->mesh() : Mesh();
    CONCLAVE_ASSIGN(
        plan_, assemble_batches(experiment_, store_, request, mesh.index(MeshDim::data), mesh.size(MeshDim::data)));
    for (const auto& line : describe_batches(*plan_, *store_, experiment_.train.steps)) log_.info(line);
    return {};
  }

  Status build_engine() {
    const auto span = trace_.span("build");
    host_->set_device(device_.device);
    host_->enter(Phase::train);
    ops::use_operators(experiment_.train.operators == OperatorChoice::reference ? ops::Operators::reference
                                                                                : ops::Operators::fused);
    CONCLAVE_ASSIGN(plugins_, assemble_training(experiment_, *host_));

    shape_ = {store_->vocabulary_size(), experiment_.data.length.max};
    CONCLAVE_ASSIGN(groups_, cluster_->make_groups(device_.device));
    const Mesh& mesh = cluster_->mesh();
    const char* model_id = experiment_.model.id.c_str();
    CONCLAVE_ASSIGN(summary_, guard(model_id, "summarize", [&] { return plugins_.model->summarize(shape_, mesh); }));
    StageRequest stage_request;
    stage_request.shape = shape_;
    stage_request.mesh = mesh;
    stage_request.compute = compute_type(experiment_.precision.compute);
    stage_request.master = stage_request.compute == at::kDouble ? at::kDouble : at::kFloat;
    stage_request.recompute = experiment_.train.recompute ? Recompute::layer : Recompute::none;
    stage_request.device = device_.device;
    stage_request.groups = groups_;
    stage_request.chunks = mesh.size(MeshDim::pipeline) * experiment_.parallel.virtual_stages;
    EngineParts parts;
    for (int chunk = mesh.index(MeshDim::pipeline); chunk < stage_request.chunks;
         chunk += mesh.size(MeshDim::pipeline)) {
      stage_request.chunk = chunk;
      CONCLAVE_ASSIGN(auto stage,
                      guard(model_id, "make_stage", [&] { return plugins_.model->make_stage(stage_request); }));
      parts.stages.push_back(std::move(stage));
    }
    parts.optimizer = plugins_.optimizer;
    parts.scheduler = plugins_.scheduler;
    parts.model_id = experiment_.model.id;
    parts.optimizer_id = experiment_.optimizer.id;
    parts.scheduler_id = experiment_.scheduler.id;

    EngineSettings settings;
    settings.device = device_.device;
    settings.compute = stage_request.compute;
    settings.seed = experiment_.seed;
    settings.loss = {experiment_.train.label_smoothing, experiment_.train.z_loss};
    settings.clip_grad_norm = experiment_.train.clip_grad_norm;
    settings.grad_norm_limit = experiment_.train.grad_norm_limit;
    const auto& scale = experiment_.precision.loss_scale;
    settings.loss_scale = {experiment_.precision.compute == Compute::fp16,
                           scale.initial,
                           scale.growth,
                           scale.backoff,
                           scale.minimum,
                           scale.interval};
    settings.total_steps = experiment_.train.steps;
    settings.domains = store_->domain_count();
    settings.parallel.mesh = mesh;
    settings.parallel.groups = groups_;
    settings.parallel.shard_optimizer = experiment_.parallel.shard_optimizer;
    if (experiment_.parallel.gradients == GradientType::bf16) settings.parallel.gradient_type = at::kBFloat16;
    const auto gradient_bytes = static_cast<std::int64_t>(
        c10::elementSize(settings.parallel.gradient_type != at::ScalarType::Undefined ? settings.parallel.gradient_type
                                                                                      : stage_request.master));
    settings.parallel.bucket = experiment_.parallel.bucket / gradient_bytes;
    settings.graphs = experiment_.train.cuda_graphs;
    if (request_.profile) settings.eager_steps = eager_steps_of_profile(request_.profile->steps);
    settings.graph_note = [this](const std::string& reason) { log_.info("steps run without CUDA graphs: " + reason); };
    if (trace_.on())
      settings.segment_hook = [this](const std::string& name, Trace::Clock::time_point begin,
                                     Trace::Clock::time_point end) { trace_.add("step", name, begin, end); };
    CONCLAVE_ASSIGN(engine_, make_step_engine(settings, std::move(parts)));
    char line[256];
    std::snprintf(line, sizeof line, "model: %.2fM parameters, %.2fM active for a token; device %s, compute %s",
                  static_cast<double>(summary_.parameters) / 1e6, static_cast<double>(summary_.active_parameters) / 1e6,
                  device_.name.c_str(), at::toString(settings.compute));
    log_.info(line);
    if (!cluster_->alone())
      log_.info(std::to_string(ranks_->world_size) + " ranks started by " + ranks_->launcher + ": " +
                plan::describe(mesh));
    return {};
  }

  Status resume() {
    meta_.config_hash = experiment_.hash;
    meta_.plan_digest = plan_->digest();
    meta_.store_digest = store_->digest();
    meta_.vocabulary = store_->vocabulary_size();
    meta_.settings = experiment_.settings;
    meta_.tokenizer_id = experiment_.data.tokenizer.id;
    meta_.model_id = experiment_.model.id;
    meta_.plugins = plugin_hashes(experiment_, registry_);
    meta_.machine = at::get_cpu_capability() + ", " + std::to_string(at::get_num_threads()) + " threads";

    CheckpointStore::Settings settings;
    settings.directory = directory_->checkpoints();
    settings.peers = cluster_->checkpoint_peers();
    settings.policy = plugins_.checkpoint;
    settings.policy_id = experiment_.checkpoint.id;
    settings.warn = [this](const Error& trouble) { log_.warning(trouble.render()); };
    // A run that goes on from a checkpoint repeats no step before it: their rows must be on the disk first.
    settings.before_commit = [this](std::int64_t step) -> Status {
      if (observer_ != nullptr && !observer_->flush(std::chrono::minutes(1)))
        log_.warning(
            "the checkpoint of step " + std::to_string(step) +
            " is committed although a monitor has not written its rows: they are lost if the run is killed now");
      return {};
    };
    settings.committed = [this](const CheckpointEntry& entry) {
      if (observer_ != nullptr) observer_->checkpoint_committed(entry.step, entry.path.string());
    };
    CONCLAVE_ASSIGN(checkpoints_, open_checkpoint_store(std::move(settings)));

    AttemptRecord attempt;
    attempt.device = device_.name;
    attempt.arithmetic = meta_.machine;
    attempt.operators = ops::operator_backends(device_.device, compute_type(experiment_.precision.compute));
    attempt.mesh = cluster_->mesh();
    attempt.launcher = ranks_->launcher;
    attempt.parameters = summary_.parameters;
    attempt.active_parameters = summary_.active_parameters;
    attempt.flops_per_token = 3 * summary_.forward_flops_per_token; // the backward pass takes two forward passes' worth
    attempt.data_order = plan_->digest();
    attempt.data_store = store_->digest();
    const std::vector<double> passes = plan_->passes(experiment_.train.steps);
    for (std::size_t d = 0; d < passes.size(); ++d) attempt.data_passes[store_->domain_name(d)] = passes[d];
    if (request_.resume) {
      std::unique_ptr<CheckpointReader> reader;
      if (!resume_path_.empty()) {
        CONCLAVE_ASSIGN(reader, open_checkpoint(resume_path_, cluster_->checkpoint_peers()));
      } else if (checkpoints_->list().empty()) {
        log_.warning("no checkpoint was committed in " + directory_->path().string() + " yet: starting from step 0");
      } else {
        CONCLAVE_ASSIGN(reader,
                        checkpoints_->open_latest([this](const Error& damaged) { log_.warning(damaged.render()); }));
      }
      if (reader != nullptr) CONCLAVE_RETURN_IF_ERROR(restore(*reader, attempt));
    }
    attempt.first_step = first_step_;
    if (!is_first()) return {};
    return directory_->write_record(experiment_, registry_, attempt);
  }

  Status restore(const CheckpointReader& reader, AttemptRecord& attempt) {
    CONCLAVE_ASSIGN(const CheckpointMeta then, parse_checkpoint_meta(reader.meta_json()));
    CONCLAVE_ASSIGN(ResumeDecision decision, compare_for_resume(then, meta_, request_.allow_change));
    for (const auto& note : decision.notes) log_.warning("changed since the checkpoint: " + note);
    for (const auto& [key, change] : decision.allowed)
      log_.warning("changed since the checkpoint and allowed: " + key + ": " + change);
    attempt.allowed_changes = std::move(decision.allowed);
    CONCLAVE_RETURN_IF_ERROR(engine_->restore(reader));
    for (const StatefulPlugin& plugin : stateful_plugins()) {
      const auto state = reader.states().find(plugin.key);
      CONCLAVE_RETURN_IF_ERROR(guard(plugin.id.c_str(), "load", [&] {
        return plugin.state->load(state != reader.states().end() ? state->second : StateMap{});
      }));
    }
    step_ = first_step_ = reader.step();
    skipped_in_row_ = skipped_in_row(reader);
    attempt.resumed_from = reader.path().string();
    // What lies behind the point of departure is another branch; of the same step, too, where that point lies elsewhere.
    const auto listed = checkpoints_->list();
    const bool in_place = std::any_of(listed.begin(), listed.end(), [&reader](const CheckpointEntry& entry) {
      std::error_code ignored;
      return fs::equivalent(entry.path, reader.path(), ignored);
    });
    CONCLAVE_ASSIGN(const auto aside, checkpoints_->set_aside_after(in_place ? first_step_ : first_step_ - 1));
    for (const CheckpointEntry& entry : aside)
      log_.warning("the checkpoint of step " + std::to_string(entry.step) +
                   " is not this run's any more and was renamed to " + entry.path.string());
    log_.info("resumed from " + reader.path().string() + " at step " + std::to_string(first_step_));
    return {};
  }

  std::vector<StatefulPlugin> stateful_plugins() {
    std::vector<StatefulPlugin> found;
    auto add = [&found](const PluginBlock& block, Plugin* plugin) {
      if (auto* stateful = dynamic_cast<Stateful*>(plugin); stateful != nullptr)
        found.push_back({block.key, block.id, stateful});
    };
    add(experiment_.model, plugins_.model.get());
    add(experiment_.optimizer, plugins_.optimizer.get());
    add(experiment_.scheduler, plugins_.scheduler.get());
    return found;
  }

  Status start_monitors() {
    CONCLAVE_ASSIGN(auto monitors, assemble_monitors(experiment_, *host_, ranks_->rank, ranks_->local_rank));
    observer_ = std::make_unique<Observer>(std::move(monitors), log_);
    RunInfo info;
    info.name = experiment_.name;
    info.directory = directory_->path().string();
    info.config_hash = experiment_.hash;
    info.config_hash_without_seed = experiment_.hash_without_seed;
    info.total_steps = experiment_.train.steps;
    info.first_step = first_step_;
    info.attempt = directory_->attempt();
    info.rank = ranks_->rank;
    info.world_size = ranks_->world_size;
    info.local_rank = ranks_->local_rank;
    info.parameters = summary_.parameters;
    info.active_parameters = summary_.active_parameters;
    info.quiet = request_.quiet;
    for (const auto& [key, setting] : experiment_.settings) info.settings.emplace_back(key, setting.value);
    return observer_->start(info);
  }

  Result<LoopOutcome> profile() {
    const auto loader = data::make_loader(plan_, 0, 1, 4);
    CONCLAVE_ASSIGN(const StepProfile steps, profile_steps(*engine_, *loader, device_.device, *request_.profile));
    const double flops = 3 * summary_.forward_flops_per_token;
    const std::string text =
        request_.profile->json ? to_json(steps, device_.name, flops) : render(steps, device_.name, flops);
    std::fputs(text.c_str(), stdout);
    LoopOutcome done;
    done.finished = true;
    return done;
  }

  Result<LoopOutcome> train() {
    const Evaluation evaluation = Evaluation::make(experiment_, store_, cluster_->mesh(), log_);
    LoopInput input;
    input.experiment = &experiment_;
    input.engine = engine_.get();
    input.plan = plan_;
    input.store = store_;
    input.checkpoints = checkpoints_.get();
    input.policy = plugins_.checkpoint.get();
    input.policy_id = experiment_.checkpoint.id;
    input.evaluation = &evaluation;
    input.observer = observer_.get();
    input.metrics = &host_->metrics();
    input.trace = &trace_;
    input.log = &log_;
    input.meta_json = to_json(meta_);
    input.files = {{"resolved.yaml", experiment_.resolved_yaml}};
    CONCLAVE_ASSIGN(input.files["tokenizer"],
                    guard(experiment_.data.tokenizer.id.c_str(), "serialize", [&] { return tokenizer_->serialize(); }));
    input.stateful = stateful_plugins();
    input.first_step = first_step_;
    input.reached = &step_;
    input.skipped_in_row = skipped_in_row_;
    input.stop_after = request_.stop_after;
    input.attempt = directory_->attempt();
    input.stop = stop_->token();
    input.stop_reason = [this] { return stop_->name(); };
    input.alone = cluster_->alone();
    input.groups = groups_.get();
    StepRecorder recorder;
    input.stepped = [&](std::int64_t step, const StepResult& result) {
      cluster_->set_step(step);
      if (!request_.step_record.empty() && is_first()) recorder.add(step, result);
    };
    auto outcome = run_training_loop(input);
    observer_->drain();
    if (outcome.ok()) CONCLAVE_RETURN_IF_ERROR(tell_end(recorder));
    return outcome;
  }

  /// What the attempt sent and how much memory it took.
  Status tell_end(const StepRecorder& recorder) {
    const SentByGroup sent = sent_by_group(groups_.get());
    const std::int64_t peak = peak_memory(device_.device);
    if (!request_.step_record.empty())
      CONCLAVE_RETURN_IF_ERROR(
          recorder.write(request_.step_record.string() + "." + std::to_string(ranks_->rank), sent, peak));
    return is_first() ? directory_->write_cost(sent, step_ - first_step_, peak) : Status{};
  }

  void write_trace(int rank, bool together) {
    if (!trace_.on()) return;
    static_cast<void>(trace_.write(directory_->path() / ("trace." + std::to_string(rank) + ".json"), rank));
    if (!together || cluster_->alone() || !cluster_->all_well("trace", {}).ok() || rank != 0) return;
    static_cast<void>(Trace::merge(directory_->path(), ranks_->world_size));
  }

  void say_closing_words(const LoopOutcome& outcome, int code) {
    const auto total = [&outcome](const char* name) {
      for (const Metric& metric : outcome.last_evaluation.metrics)
        if (metric.labels.empty() && metric.name == name) return metric.value;
      return std::nan("");
    };
    const double nll = total("eval_nll"), entropy = total("eval_unigram_entropy");
    if (std::isfinite(nll)) {
      char line[256];
      std::snprintf(line, sizeof line,
                    "held-out nll %.4f nats a token, %.4f %s the entropy of its unigrams (%.4f); %.4f bits a byte", nll,
                    std::abs(entropy - nll), nll <= entropy ? "below" : "above", entropy, total("eval_bits_per_byte"));
      log_.info(line);
    }
    log_.info("run directory: " + directory_->path().string());
    ClosingFacts facts;
    facts.program = request_.program;
    facts.experiment = experiment_.files.front();
    facts.overrides = request_.overrides;
    facts.member = experiment_.member;
    facts.device = request_.device == DeviceChoice::cpu    ? "cpu"
                   : request_.device == DeviceChoice::cuda ? "cuda"
                                                           : "auto";
    if (ranks_->launcher == "conclave") facts.ranks = ranks_->world_size;
    facts.run_directory = directory_->path();
    facts.finished = code == 0 && outcome.step >= experiment_.train.steps;
    facts.exports = guard(experiment_.model.id.c_str(), "hugging_face", [this] {
                      return plugins_.model->hugging_face(shape_, tokenizer_->special_tokens());
                    }).ok();
    facts.tensorboard = has_event_files(directory_->path());
    std::string lines;
    for (const std::string& command : closing_words(facts)) lines += (lines.empty() ? "next: " : "\n      ") + command;
    log_.info(lines);
  }

  [[nodiscard]] bool is_first() const { return !ranks_.ok() || ranks_->rank == 0; }

  const Experiment& experiment_;
  PluginRegistry& registry_;
  const RunRequest& request_;
  const Result<RankInfo>& ranks_;
  Logger log_;
  Trace trace_;
  std::unique_ptr<StopSignal> stop_;
  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<Cluster> cluster_; // outlives all that talks to other ranks
  std::unique_ptr<HostServices> host_;
  std::shared_ptr<const data::TokenStore> store_;
  std::shared_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const data::BatchPlan> plan_;
  OpenedDevice device_;
  TrainPlugins plugins_;
  std::shared_ptr<Groups> groups_; // null: one rank
  ModelShape shape_;
  ModelSummary summary_;
  std::unique_ptr<StepEngine> engine_;
  std::unique_ptr<Observer> observer_; // outlives the store: its callback posts here
  std::unique_ptr<CheckpointStore> checkpoints_;
  CheckpointMeta meta_;
  fs::path resume_path_;
  std::int64_t first_step_ = 0, step_ = 0; // batches seen at the start, and by now
  int skipped_in_row_ = 0;
};

} // namespace

int run_experiment(const Experiment& experiment, PluginRegistry& registry, const RunRequest& request) {
  const auto ranks = resolve_ranks([](const char* name) -> const char* { return std::getenv(name); });
  Run run(experiment, registry, request, ranks);
  const int code = run.execute();
  // Threads of a broken collective may wait for a rank that never answers: nothing of theirs can be taken down.
  if (ranks.ok() && ranks->world_size > 1 && code != 0 && code != exit_code(Code::stopped)) std::_Exit(code);
  return code;
}

} // namespace conclave
