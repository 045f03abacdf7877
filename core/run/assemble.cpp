// Instances and cache keys from bound blocks.

#include "run/assemble.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>

#include "config/advice.hpp"
#include "config/block_diagnostic.hpp"
#include "plugin/guard.hpp"
#include "run/instantiate.hpp"

namespace conclave {
namespace {

HostContextFactory contexts(HostServices& host) {
  return [&host](const PluginBlock& block) -> HostContext& { return host.context(block); };
}

/// What a cached output of this plugin depends on: id, revision and every option that changes numbers.
std::string cache_key(const PluginBlock& block, bool with_selection) {
  std::string key = block.id + " r" + std::to_string(block.descriptor->info.output_revision);
  const OptionTable& table = block.descriptor->options;
  for (const auto& [name, text] : table.render(block.options.get())) {
    const OptionSpec* spec = table.find(name);
    if (spec->affects == Affects::numerics || (with_selection && spec->affects == Affects::selection))
      key += "\n" + name + "=" + text;
  }
  for (const auto& child : block.children)
    key += "\n" + child.request.key + "{" + cache_key(child.block, with_selection) + "}";
  return key;
}

} // namespace

std::filesystem::path default_cache_directory() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0')
    return std::filesystem::path(xdg) / "conclave";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return std::filesystem::path(home) / ".cache/conclave";
  return std::filesystem::temp_directory_path() / "conclave-cache";
}

Result<data::PrepareRequest> assemble_prepare(const Experiment& experiment, HostServices& host) {
  const DataSection& section = experiment.data;
  data::PrepareRequest request;
  for (const auto& domain : section.domains) {
    data::DomainInput input;
    input.name = domain.name;
    input.share = domain.share;
    input.source_id = domain.source.id;
    input.source_key = cache_key(domain.source, true);
    CONCLAVE_ASSIGN(input.source, instantiate<Source>(domain.source, contexts(host)));
    request.domains.push_back(std::move(input));
  }
  for (const auto& block : section.filters) {
    data::FilterStage stage;
    stage.name = block.name;
    stage.id = block.id;
    stage.annotate_key = cache_key(block, false);
    stage.select_key = cache_key(block, true);
    for (const auto& domain : section.domains)
      stage.skips.push_back(std::find(domain.skip_filters.begin(), domain.skip_filters.end(), block.name) !=
                            domain.skip_filters.end());
    stage.make = [&block, &host] { return instantiate<Filter>(block, contexts(host)); };
    request.filters.push_back(std::move(stage));
  }
  CONCLAVE_ASSIGN(request.tokenizer, instantiate<Tokenizer>(section.tokenizer, contexts(host)));
  request.tokenizer_id = section.tokenizer.id;
  request.tokenizer_key = cache_key(section.tokenizer, true);
  request.min_tokens = section.length.min;
  request.max_tokens = section.length.max;
  request.too_long = static_cast<int>(section.length.too_long);
  request.held_out = section.held_out;
  request.tokenizer_sample_bytes = section.tokenizer_sample;
  request.drop_invalid_utf8 = section.invalid_utf8 == InvalidUtf8::drop;
  request.cache =
      section.cache.value.empty() ? default_cache_directory() / "data" : std::filesystem::path(section.cache.value);
  request.workers =
      section.workers > 0 ? section.workers : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return request;
}

data::PlanSettings training_plan(const Experiment& experiment, int data_rank, int data_ranks) {
  data::PlanSettings plan;
  plan.bucket = experiment.data.batching.mode == BatchingMode::bucket;
  plan.document_attention = experiment.data.batching.document_attention;
  plan.max_length = experiment.data.length.max;
  plan.bucket_step = experiment.data.batching.bucket_step;
  plan.global_batch = experiment.train.batch;
  plan.micro_batch =
      experiment.train.micro_batch > 0 ? experiment.train.micro_batch : Count(experiment.train.batch / data_ranks);
  plan.data_rank = data_rank;
  plan.data_ranks = data_ranks;
  plan.seed = experiment.seed;
  return plan;
}

data::PlanSettings held_out_plan(const Experiment& experiment, int domain) {
  data::PlanSettings plan = training_plan(experiment, 0, 1);
  plan.split = data::Split::held_out;
  plan.only_domain = domain;
  plan.global_batch = plan.micro_batch;
  plan.seed = 0; // the same held-out batches whatever the run's seed: runs stay comparable
  return plan;
}

Result<TrainPlugins> assemble_training(const Experiment& experiment, HostServices& host) {
  TrainPlugins plugins;
  CONCLAVE_ASSIGN(plugins.model, instantiate<Model>(experiment.model, contexts(host)));
  CONCLAVE_ASSIGN(plugins.optimizer, instantiate<Optimizer>(experiment.optimizer, contexts(host)));
  CONCLAVE_ASSIGN(plugins.scheduler, instantiate<Scheduler>(experiment.scheduler, contexts(host)));
  if (experiment.checkpoint) {
    CONCLAVE_ASSIGN(plugins.checkpoint, instantiate<CheckpointPolicy>(experiment.checkpoint, contexts(host)));
  }
  return plugins;
}

Result<std::vector<Observer::Watched>> assemble_monitors(const Experiment& experiment, HostServices& host, int rank,
                                                         int local_rank) {
  std::vector<Observer::Watched> monitors;
  for (const auto& block : experiment.monitors) {
    CONCLAVE_ASSIGN(auto monitor, instantiate<Monitor>(block, contexts(host)));
    CONCLAVE_ASSIGN(const Placement placement,
                    guard(block.id.c_str(), "placement", [&] { return monitor->placement(); }));
    const bool here = placement == Placement::rank || (placement == Placement::node && local_rank == 0) || rank == 0;
    if (here) monitors.push_back({block.id, block.name, std::move(monitor)});
  }
  return monitors;
}

ParallelSizes parallel_sizes(const Experiment& experiment) {
  const ParallelSection& p = experiment.parallel;
  return {p.tensor, p.pipeline, p.expert, p.data};
}

namespace {

/// Makes one plugin for check; null when it could not be made, which is then told.
template <class K>
std::shared_ptr<K> probe(const PluginBlock& block, HostServices& host, Diagnostics& diagnostics) {
  if (!block) return nullptr;
  auto made = instantiate<K>(block, contexts(host));
  if (made.ok()) return std::move(made).value();
  diagnostics.add(diagnostic_of(made.error(), block));
  return nullptr;
}

/// A plugin's answer to a question of check; nothing when it failed, which is then told.
template <class F>
auto ask(const PluginBlock& block, const char* call, Diagnostics& diagnostics, F&& question)
    -> std::optional<std::remove_cvref_t<decltype(guard(block.id.c_str(), call, question).value())>> {
  auto answer = guard(block.id.c_str(), call, question);
  if (answer.ok()) return std::move(answer).value();
  diagnostics.add(diagnostic_of(answer.error(), block));
  return std::nullopt;
}

Location section_where(const Experiment& experiment, const char* name) {
  const Value* section = experiment.tree.find(name);
  return (section != nullptr ? *section : experiment.tree).where();
}

/// The experiment's layout with the fewest ranks; one rank when it does not fold, which is then told.
Mesh smallest_mesh(const Experiment& experiment, Diagnostics& diagnostics) {
  const auto mesh = resolve_mesh(parallel_sizes(experiment), 0, 0);
  if (mesh.ok()) return *mesh;
  diagnostics.error(section_where(experiment, "parallel"), "parallel", mesh.error().what, mesh.error().fix);
  return {};
}

} // namespace

void check_assembled(const Experiment& experiment, Diagnostics& diagnostics) {
  Logger log(true);
  HostServices::Settings settings;
  settings.log = &log;
  settings.seed = experiment.seed;
  settings.phase = Phase::check;
  HostServices host(std::move(settings));

  for (const DomainSection& domain : experiment.data.domains) probe<Source>(domain.source, host, diagnostics);
  for (const PluginBlock& block : experiment.data.filters) probe<Filter>(block, host, diagnostics);
  for (const PluginBlock& block : experiment.monitors) probe<Monitor>(block, host, diagnostics);
  probe<Tokenizer>(experiment.data.tokenizer, host, diagnostics);
  probe<CheckpointPolicy>(experiment.checkpoint, host, diagnostics);

  AdviceInput input;
  input.total_steps = experiment.train.steps;
  input.clip_grad_norm = experiment.train.clip_grad_norm;
  if (const auto optimizer = probe<Optimizer>(experiment.optimizer, host, diagnostics))
    input.peak_learning_rate = ask(experiment.optimizer, "peak_learning_rate", diagnostics, [&] {
                                 return optimizer->peak_learning_rate();
                               }).value_or(input.peak_learning_rate);
  if (const auto scheduler = probe<Scheduler>(experiment.scheduler, host, diagnostics))
    input.warmup_steps = ask(experiment.scheduler, "warmup_steps", diagnostics, [&] {
                           return scheduler->warmup_steps({experiment.train.steps, input.peak_learning_rate});
                         }).value_or(input.warmup_steps);
  const Mesh mesh = smallest_mesh(experiment, diagnostics);
  if (mesh.world_size() > 1)
    diagnostics.hint(section_where(experiment, "parallel"), "parallel",
                     "this layout needs at least " + std::to_string(mesh.world_size()) +
                         " ranks, and `run` of this version trains on one",
                     "to run it here, set every degree to 1");
  if (const auto model = probe<Model>(experiment.model, host, diagnostics)) {
    // The vocabulary is the tokenizer's, known after prepare; a typical size serves for the order of magnitude.
    const ModelShape shape{32'000, experiment.data.length.max};
    if (const auto summary =
            ask(experiment.model, "summarize", diagnostics, [&] { return model->summarize(shape, mesh); }))
      input.parameters = summary->parameters;
  }
  add_advice(input, experiment, diagnostics);
}

} // namespace conclave
