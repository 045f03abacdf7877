// Instances and cache keys from bound blocks.

#include "run/assemble.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>

#include "config/advice.hpp"
#include "config/block_diagnostic.hpp"
#include "plan/layout.hpp"
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
    CONCLAVE_ASSIGN(const auto probe, stage.make());
    CONCLAVE_ASSIGN(const std::string inputs, guard(block.id.c_str(), "inputs", [&] { return probe->inputs(); }));
    stage.annotate_key += "\n" + inputs;
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
  request.memory = section.memory;
  request.drop_invalid_utf8 = section.invalid_utf8 == InvalidUtf8::drop;
  request.cache =
      section.cache.value.empty() ? default_cache_directory() / "data" : std::filesystem::path(section.cache.value);
  request.workers =
      section.workers > 0 ? section.workers : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return request;
}

namespace {

/// What training and evaluation have in common.
data::PlanSettings common_plan(const Experiment& experiment, int data_ranks) {
  data::PlanSettings plan;
  plan.bucket = experiment.data.batching.mode == BatchingMode::bucket;
  plan.document_attention = experiment.data.batching.document_attention;
  plan.max_length = experiment.data.length.max;
  plan.bucket_step = experiment.data.batching.bucket_step;
  plan.global_batch = experiment.train.batch;
  plan.micro_batch =
      experiment.train.micro_batch > 0 ? experiment.train.micro_batch : Count(experiment.train.batch / data_ranks);
  return plan;
}

data::WeightSettings weights_of(const WeightsSection& section) {
  const auto rule = section.rule == MixtureRule::temperature ? data::WeightRule::temperature
                    : section.rule == MixtureRule::unimax    ? data::WeightRule::unimax
                                                             : data::WeightRule::given;
  return {rule, section.alpha, section.passes};
}

data::CurriculumStage stage_of(const CurriculumSection& section, const Experiment& experiment) {
  data::CurriculumStage stage;
  stage.first = section.from.resolve(experiment.train.steps);
  stage.length = section.length ? section.length->value : 0;
  if (!section.shares.empty())
    for (const DomainSection& domain : experiment.data.domains) stage.shares.push_back(section.shares.at(domain.name));
  return stage;
}

/// The id of a token that is named as it is written.
Result<std::int32_t> named_token(const std::string& name, const std::string& key, const std::string& tokenizer_id,
                                 const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  CONCLAVE_RETURN_IF_ERROR(guard(tokenizer_id.c_str(), "encode", [&] { return tokenizer.encode(name, ids); }));
  if (ids.size() == 1) return ids.front();
  return invalid("'" + name + "' is " + std::to_string(ids.size()) + " tokens of " + tokenizer_id + ", not one",
                 "name a special token that its vocabulary has", "data.fill_in_middle." + key);
}

Result<data::FillInMiddle> fill_in_middle_of(const Experiment& experiment, const Tokenizer& tokenizer) {
  const FillInMiddleSection& section = experiment.data.fill_in_middle;
  data::FillInMiddle settings;
  if (section.rate == 0) return settings;
  settings.rate = section.rate;
  settings.spm = section.spm;
  const std::string& id = experiment.data.tokenizer.id;
  CONCLAVE_ASSIGN(settings.prefix, named_token(section.prefix, "prefix", id, tokenizer));
  CONCLAVE_ASSIGN(settings.suffix, named_token(section.suffix, "suffix", id, tokenizer));
  CONCLAVE_ASSIGN(settings.middle, named_token(section.middle, "middle", id, tokenizer));
  if (!section.domains.empty())
    for (const DomainSection& domain : experiment.data.domains)
      settings.domains.push_back(std::find(section.domains.begin(), section.domains.end(), domain.name) !=
                                 section.domains.end());
  return settings;
}

} // namespace

Result<std::shared_ptr<const data::BatchPlan>> assemble_batches(const Experiment& experiment,
                                                                std::shared_ptr<const data::TokenStore> store,
                                                                const data::PrepareRequest& prepared, int data_rank,
                                                                int data_ranks) {
  data::PlanSettings plan = common_plan(experiment, data_ranks);
  plan.data_rank = data_rank;
  plan.data_ranks = data_ranks;
  plan.seed = experiment.seed;
  plan.weights = weights_of(experiment.data.weights);
  plan.batches = experiment.train.steps;
  for (const CurriculumSection& section : experiment.data.curriculum)
    plan.curriculum.push_back(stage_of(section, experiment));
  CONCLAVE_ASSIGN(plan.fill_in_middle, fill_in_middle_of(experiment, *prepared.tokenizer));
  if (!plan.bucket && experiment.data.batching.packing == Packing::best_fit) {
    data::PackTable::Request request;
    request.length = plan.max_length;
    request.cache = prepared.cache;
    request.workers = prepared.workers;
    request.stop = prepared.stop;
    request.notice = prepared.notice;
    CONCLAVE_ASSIGN(plan.packs, data::PackTable::make(*store, request));
  }
  return data::make_batch_plan(std::move(store), plan);
}

data::PlanSettings held_out_plan(const Experiment& experiment, int domain) {
  // Whatever the run's seed, mixture and packing: runs stay comparable.
  data::PlanSettings plan = common_plan(experiment, 1);
  plan.split = data::Split::held_out;
  plan.only_domain = domain;
  plan.global_batch = plan.micro_batch;
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

constexpr std::int64_t usual_vocabulary = 32'000; // where the tokenizer does not say: of the usual order

HostServices::Settings check_services(const Experiment& experiment, Logger& log) {
  HostServices::Settings settings;
  settings.log = &log;
  settings.seed = experiment.seed;
  settings.phase = Phase::check;
  return settings;
}

/// A tokenizer that is not trained yet may know how large its vocabulary will be.
std::int64_t planned_vocabulary(const Experiment& experiment, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return usual_vocabulary;
  const auto size = guard(experiment.data.tokenizer.id.c_str(), "vocabulary_size",
                          [&]() -> std::int64_t { return tokenizer->vocabulary_size(); });
  return size.ok() && *size >= 2 ? *size : usual_vocabulary;
}

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

/// The layout of that many ranks, or of the fewest that fold; one rank when there is none, which is then told.
Mesh checked_mesh(const Experiment& experiment, const plan::Subject* subject, std::int64_t ranks,
                  Diagnostics& diagnostics) {
  const auto refuse = [&](const Error& error) {
    diagnostics.error(section_where(experiment, "parallel"), "parallel", error.what, error.fix);
    return Mesh{};
  };
  ParallelSizes sizes = parallel_sizes(experiment);
  if (experiment.parallel.automatic) {
    if (ranks == 0 || subject == nullptr) return {};
    const auto chosen = plan::choose_layout(*subject, ranks);
    if (!chosen.ok()) return refuse(chosen.error());
    sizes = *chosen;
  }
  const auto mesh = resolve_mesh(sizes, ranks, 0);
  return mesh.ok() ? *mesh : refuse(mesh.error());
}

/// What to change when a rank's memory does not fit.
std::string how_to_save(const Experiment& experiment, const plan::Memory& memory) {
  const bool state = memory.weights + memory.gradients + memory.optimizer > experiment.hardware.gpu_memory / 2;
  std::string fix = state ? "more ranks, with a higher parallel.expert, parallel.pipeline or parallel.tensor" : "";
  const auto add = [&fix](const char* way) { fix += (fix.empty() ? "" : "; ") + std::string(way); };
  if (!experiment.train.recompute) add("train.recompute: true");
  if (experiment.train.micro_batch != 1) add("a smaller train.micro_batch");
  if (!state) add("a higher parallel.tensor");
  return fix;
}

void check_memory(const Experiment& experiment, const RunNeeds& needs, Diagnostics& diagnostics) {
  const std::int64_t capacity = experiment.hardware.gpu_memory;
  if (capacity == 0 || needs.memory.empty()) return;
  const plan::Memory& most = plan::fullest(needs.memory);
  const std::int64_t sum = most.sum() + plan::outside_allocator;
  const Location where = section_where(experiment, "hardware");
  const int ranks = needs.mesh.world_size();
  const std::string layout =
      std::to_string(ranks) + (ranks == 1 ? " rank (" : " ranks (") + plan::describe(needs.mesh) + ")";
  if (sum > capacity)
    diagnostics.error(
        where, "hardware.gpu_memory",
        "a GPU has " + plan::size_text(capacity) + ", and on " + layout + " one needs " + plan::arithmetic(most),
        how_to_save(experiment, most));
  else if (static_cast<double>(sum) > plan::planned_share * static_cast<double>(capacity))
    diagnostics.hint(where, "hardware.gpu_memory",
                     "of " + plan::size_text(capacity) + " on " + layout + ", " + plan::size_text(sum) +
                         " are needed: little is left for gaps in the allocator and unevenly chosen experts",
                     how_to_save(experiment, most));
}

void check_storage(const Experiment& experiment, const plan::Storage& storage, Diagnostics& diagnostics) {
  const std::int64_t capacity = experiment.hardware.storage;
  if (capacity == 0 || storage.sum() <= capacity) return;
  diagnostics.error(section_where(experiment, "hardware"), "hardware.storage",
                    "there are " + plan::size_text(capacity) + ", and the run needs checkpoints of " +
                        plan::size_text(storage.checkpoint) + " x (" + std::to_string(storage.kept) +
                        " kept + 1 under way) + prepared tokens of up to " + plan::size_text(storage.tokens) + " = " +
                        plan::size_text(storage.sum()),
                    "keep fewer checkpoints, or use more storage");
}

/// Memory and storage of the subject on the mesh; both empty when a plugin cannot say, which is then told. Memory is
/// held against a GPU's unless the layout waits for the number of ranks.
void add_needs(const plan::Subject& subject, const CheckpointPolicy* policy, bool layout_known, RunNeeds& needs,
               Diagnostics& diagnostics) {
  const Experiment& experiment = *subject.experiment;
  const auto tell = [&](const Error& error) {
    const bool plugin = error.code == Code::internal;
    diagnostics.add(
        plugin ? diagnostic_of(error, experiment.model)
               : Diagnostic{Severity::error, section_where(experiment, "parallel"), "parallel", error.what, error.fix});
  };
  auto memory = plan::plan_memory(subject, needs.mesh);
  if (!memory.ok()) return tell(memory.error());
  const auto storage = plan::plan_storage(subject, policy);
  if (!storage.ok()) return tell(storage.error());
  needs.memory = std::move(memory).value();
  needs.storage = *storage;
  if (layout_known) check_memory(experiment, needs, diagnostics);
  check_storage(experiment, needs.storage, diagnostics);
}

} // namespace

Result<PlanPlugins> assemble_plan(const Experiment& experiment) {
  PlanPlugins plugins;
  plugins.log = std::make_unique<Logger>(true);
  plugins.host = std::make_unique<HostServices>(check_services(experiment, *plugins.log));
  const HostContextFactory make = contexts(*plugins.host);
  CONCLAVE_ASSIGN(plugins.model, instantiate<Model>(experiment.model, make));
  CONCLAVE_ASSIGN(const auto optimizer, instantiate<Optimizer>(experiment.optimizer, make));
  CONCLAVE_ASSIGN(const auto tokenizer, instantiate<Tokenizer>(experiment.data.tokenizer, make));
  plugins.subject.experiment = &experiment;
  plugins.subject.model = plugins.model.get();
  CONCLAVE_ASSIGN(plugins.subject.optimizer,
                  guard(experiment.optimizer.id.c_str(), "traits", [&] { return optimizer->traits(); }));
  plugins.subject.shape = {planned_vocabulary(experiment, tokenizer.get()), experiment.data.length.max};
  return plugins;
}

Result<ParallelSizes> layout_for(const Experiment& experiment, std::int64_t ranks) {
  if (!experiment.parallel.automatic) return parallel_sizes(experiment);
  CONCLAVE_ASSIGN(const PlanPlugins plugins, assemble_plan(experiment));
  return plan::choose_layout(plugins.subject, ranks);
}

RunNeeds check_assembled(const Experiment& experiment, Diagnostics& diagnostics, std::int64_t ranks) {
  Logger log(true);
  HostServices host(check_services(experiment, log));

  for (const DomainSection& domain : experiment.data.domains) probe<Source>(domain.source, host, diagnostics);
  for (const PluginBlock& block : experiment.data.filters) probe<Filter>(block, host, diagnostics);
  for (const PluginBlock& block : experiment.monitors) probe<Monitor>(block, host, diagnostics);
  const auto tokenizer = probe<Tokenizer>(experiment.data.tokenizer, host, diagnostics);
  const auto policy = probe<CheckpointPolicy>(experiment.checkpoint, host, diagnostics);

  AdviceInput input;
  input.total_steps = experiment.train.steps;
  input.clip_grad_norm = experiment.train.clip_grad_norm;
  const auto optimizer = probe<Optimizer>(experiment.optimizer, host, diagnostics);
  if (optimizer)
    input.peak_learning_rate = ask(experiment.optimizer, "peak_learning_rate", diagnostics, [&] {
                                 return optimizer->peak_learning_rate();
                               }).value_or(input.peak_learning_rate);
  if (const auto scheduler = probe<Scheduler>(experiment.scheduler, host, diagnostics))
    input.warmup_steps = ask(experiment.scheduler, "warmup_steps", diagnostics, [&] {
                           return scheduler->warmup_steps({experiment.train.steps, input.peak_learning_rate});
                         }).value_or(input.warmup_steps);

  RunNeeds needs;
  const auto model = probe<Model>(experiment.model, host, diagnostics);
  plan::Subject subject{&experiment, model.get(), {}, {}};
  subject.shape = {planned_vocabulary(experiment, tokenizer.get()), experiment.data.length.max};
  if (optimizer)
    subject.optimizer = ask(experiment.optimizer, "traits", diagnostics, [&] {
                          return optimizer->traits();
                        }).value_or(subject.optimizer);
  const std::size_t errors_before = diagnostics.error_count();
  const std::int64_t known_ranks = ranks > 0 ? ranks : experiment.hardware.gpus;
  needs.mesh = checked_mesh(experiment, model && optimizer ? &subject : nullptr, known_ranks, diagnostics);
  if (model) {
    const auto summary =
        ask(experiment.model, "summarize", diagnostics, [&] { return model->summarize(subject.shape, needs.mesh); });
    if (summary) input.parameters = summary->parameters;
    if (summary && optimizer && diagnostics.error_count() == errors_before)
      add_needs(subject, policy.get(), known_ranks > 0 || !experiment.parallel.automatic, needs, diagnostics);
  }
  add_advice(input, experiment, diagnostics);
  return needs;
}

} // namespace conclave
