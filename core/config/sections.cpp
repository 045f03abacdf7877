// The option tables of an experiment's own sections.

#include "config/sections.hpp"

#include "config/keys.hpp"
#include "config/mixing_sections.hpp"

namespace conclave {
namespace {

constexpr int schema_version = 1;
constexpr double most_counted = 1e9;   // steps, sequences, tokens of one: the product of any two fits in 64 bits
constexpr double most_ranks = 1 << 20; // of one dimension of the mesh

OptionSpec plugin_spec(const char* name, const char* kind, bool required, const char* doc,
                       Affects affects = Affects::numerics) {
  OptionSpec spec;
  spec.name = name;
  spec.type = OptionType::plugin;
  spec.kind = kind;
  spec.required = required;
  spec.doc = doc;
  spec.affects = affects;
  return spec;
}

OptionSpec plugin_list_spec(const char* name, const char* kind, const char* doc, Affects affects = Affects::numerics) {
  OptionSpec spec = plugin_spec(name, kind, false, doc, affects);
  spec.type = OptionType::list;
  spec.element = OptionType::plugin;
  spec.default_text = "[]";
  return spec;
}

OptionSpec version_spec() {
  OptionSpec spec;
  spec.name = "conclave";
  spec.type = OptionType::integer;
  spec.required = true;
  spec.doc = "Version of the experiment's schema: 1.";
  spec.minimum = spec.maximum = schema_version;
  spec.affects = Affects::naming;
  spec.parse = [](const Value& value, const std::string& key, const OptionSpec&, const BindContext&, void*,
                  Diagnostics& diagnostics, std::vector<ChildRequest>&) {
    if (value.is_scalar() && value.text() == std::to_string(schema_version)) return;
    diagnostics.error(value.where(), key, "this program reads schema version " + std::to_string(schema_version),
                      "write conclave: " + std::to_string(schema_version));
  };
  spec.render = [](const void*) { return std::to_string(schema_version); };
  return spec;
}

// `auto` or a number of ranks.
OptionSpec data_ranks_spec() {
  OptionSpec spec;
  spec.name = "data";
  spec.type = OptionType::integer;
  spec.choices = {"auto"};
  spec.default_text = "auto";
  spec.minimum = 1;
  spec.maximum = most_ranks;
  spec.affects = Affects::speed;
  spec.doc = "Data-parallel ranks; auto: what the other degrees leave of all ranks.";
  spec.parse = [](const Value& value, const std::string& key, const OptionSpec& self, const BindContext& context,
                  void* object, Diagnostics& diagnostics, std::vector<ChildRequest>& children) {
    int& data = static_cast<ParallelSection*>(object)->data;
    if (value.is_scalar() && value.text() == "auto")
      data = 0;
    else
      detail::Codec<int>::parse(value, key, {self, context, diagnostics, children}, data);
  };
  spec.render = [](const void* object) {
    const int data = static_cast<const ParallelSection*>(object)->data;
    return data == 0 ? std::string("auto") : std::to_string(data);
  };
  return spec;
}

OptionTable length_table() {
  using Length = DataSection::Length;
  return OptionTableBuilder<Length>()
      .opt("min", &Length::min)
      .at_least(1)
      .doc("Shortest document that is kept, in tokens.")
      .opt("max", &Length::max)
      .range(2, most_counted)
      .doc("Longest sequence, in tokens; the model's context length.")
      .choice("too_long", &Length::too_long,
              {{"drop", TooLong::drop}, {"split", TooLong::split}, {"truncate", TooLong::truncate}})
      .doc("What happens to a document of more than max tokens.")
      .validate([](const Length& length, OptionReport& report) {
        if (length.min > length.max)
          report.error("min", std::to_string(length.min) + " is above max " + std::to_string(length.max),
                       "lower min or raise max");
      })
      .build();
}

OptionTable batching_table() {
  using Batching = DataSection::Batching;
  return OptionTableBuilder<Batching>()
      .choice("mode", &Batching::mode, {{"pack", BatchingMode::pack}, {"bucket", BatchingMode::bucket}})
      .doc("pack: documents fill sequences of length.max; bucket: sequences of like length, padded.")
      .choice("packing", &Batching::packing, {{"concat", Packing::concat}, {"best_fit", Packing::best_fit}})
      .doc(
          "With pack. concat: one text after another, cut where a sequence ends; nothing is padded. best_fit: whole "
          "documents side by side where they fit best, and a little padding. Held-out text is always cut.")
      .opt("document_attention", &Batching::document_attention)
      .doc("With pack: attention and positions start again at each document.")
      .opt("bucket_step", &Batching::bucket_step)
      .range(1, most_counted)
      .doc("With bucket: padded lengths are multiples of it, up to length.max.")
      .opt("drop_last", &Batching::drop_last)
      .doc("Always true: every batch is full. One at the end of a pass over the text is filled up from the next pass.")
      .validate([](const Batching& batching, OptionReport& report) {
        if (!batching.drop_last)
          report.error("drop_last",
                       "every batch is full: one at the end of a pass over the text is filled up from the next pass",
                       "remove it, or write drop_last: true");
        if (batching.mode == BatchingMode::bucket && batching.document_attention)
          report.warning("document_attention", "has no effect with mode bucket, where a sequence is one document",
                         "remove it, or write mode: pack");
        if (batching.mode == BatchingMode::bucket && batching.packing == Packing::best_fit)
          report.warning("packing", "has no effect with mode bucket, where a sequence is one document",
                         "remove it, or write mode: pack");
      })
      .build();
}

OptionTable data_table() {
  OptionSpec domains;
  domains.name = "domains";
  domains.type = OptionType::map;
  domains.element = OptionType::group;
  domains.required = true;
  domains.doc = "Where the text comes from: a name, a share and a source for each domain.";
  domains.fields = domain_table().specs();
  return OptionTableBuilder<DataSection>()
      .custom(std::move(domains))
      .custom(plugin_list_spec("filters", "filter", "Applied to every document, in this order."))
      .custom(plugin_spec("tokenizer", "tokenizer", true, "Text to token ids."))
      .group("length", &DataSection::length, length_table())
      .doc("The gate on a document's length.")
      .group("batching", &DataSection::batching, batching_table())
      .doc("How documents become batches.")
      .group("weights", &DataSection::weights, weights_table())
      .doc("The rule that gives domains their shares.")
      .custom(curriculum_spec())
      .group("fill_in_middle", &DataSection::fill_in_middle, fill_in_middle_table())
      .doc("Training documents rearranged so that a model learns to write what stands between two texts.")
      .opt("held_out", &DataSection::held_out)
      .range(0, 0.5)
      .doc("Share of the documents kept for evaluation, chosen by hash after deduplication.")
      .opt("tokenizer_sample", &DataSection::tokenizer_sample)
      .at_least(0)
      .doc("Text that a tokenizer trained in the run sees, spread over the domains by share.")
      .choice("invalid_utf8", &DataSection::invalid_utf8,
              {{"replace", InvalidUtf8::replace}, {"drop", InvalidUtf8::drop}})
      .doc("replace: bytes that are not UTF-8 become U+FFFD; drop: the document goes.")
      .opt("cache", &DataSection::cache)
      .affects(Affects::io)
      .doc("Folder of prepared data; default: $XDG_CACHE_HOME/conclave/data.")
      .opt("workers", &DataSection::workers)
      .range(0, 4096)
      .affects(Affects::speed)
      .doc("Threads that prepare data; 0: all cores.")
      .opt("memory", &DataSection::memory)
      .at_least(16 << 20)
      .affects(Affects::speed)
      .doc("Memory in which deduplication sorts; what is more is sorted on disk, in the cache's folder.")
      .build();
}

OptionTable precision_table() {
  using LossScale = PrecisionSection::LossScale;
  OptionTable loss_scale = OptionTableBuilder<LossScale>()
                               .opt("initial", &LossScale::initial)
                               .above(0)
                               .doc("First scale.")
                               .opt("growth", &LossScale::growth)
                               .above(1)
                               .doc("Factor after `interval` good steps.")
                               .opt("backoff", &LossScale::backoff)
                               .range(0.001, 0.999)
                               .doc("Factor after an overflow.")
                               .opt("minimum", &LossScale::minimum)
                               .above(0)
                               .doc("The scale does not fall below it.")
                               .opt("interval", &LossScale::interval)
                               .at_least(1)
                               .doc("Good steps before the scale grows.")
                               .validate([](const LossScale& scale, OptionReport& report) {
                                 if (scale.minimum > scale.initial)
                                   report.error("minimum", "is above initial", "lower it");
                               })
                               .build();
  return OptionTableBuilder<PrecisionSection>()
      .choice("compute", &PrecisionSection::compute,
              {{"fp32", Compute::fp32}, {"bf16", Compute::bf16}, {"fp16", Compute::fp16}, {"fp64", Compute::fp64}})
      .doc("Type of activations and matrix products; weights and gradients are kept in fp32 (fp64 with fp64).")
      .group("loss_scale", &PrecisionSection::loss_scale, std::move(loss_scale))
      .doc("Dynamic loss scale of fp16.")
      .opt("deterministic", &PrecisionSection::deterministic)
      .doc(
          "On a GPU: only kernels that give the same bits every time, which are slower. The CPU does so anyway, for "
          "one "
          "number of threads.")
      .build();
}

OptionTable parallel_table() {
  return OptionTableBuilder<ParallelSection>()
      .opt("tensor", &ParallelSection::tensor)
      .range(1, 1024)
      .affects(Affects::speed)
      .doc("Ranks that split each layer.")
      .opt("pipeline", &ParallelSection::pipeline)
      .range(1, 1024)
      .affects(Affects::speed)
      .doc("Ranks that split the layers.")
      .opt("expert", &ParallelSection::expert)
      .range(1, 4096)
      .affects(Affects::speed)
      .doc("Ranks that split the experts; they are the data and tensor ranks, folded.")
      .custom(data_ranks_spec())
      .opt("virtual_stages", &ParallelSection::virtual_stages)
      .range(1, 1024)
      .affects(Affects::speed)
      .doc("Chunks of the model on each rank of the pipeline, interleaved: less idle time, more messages.")
      .opt("shard_optimizer", &ParallelSection::shard_optimizer)
      .affects(Affects::speed)
      .doc("Spread masters and optimizer states over the ranks that sum a gradient (ZeRO stage 1).")
      .choice("gradients", &ParallelSection::gradients,
              {{"master", GradientType::master}, {"bf16", GradientType::bf16}})
      .affects(Affects::numerics)
      .doc("Type in which gradients travel between ranks; master: as they are kept.")
      .opt("bucket", &ParallelSection::bucket)
      .at_least(1'000'000)
      .affects(Affects::speed)
      .doc("Gradients that travel together while the backward pass goes on.")
      .opt("timeout", &ParallelSection::timeout)
      .range(1, 86'400)
      .affects(Affects::io)
      .doc("A collective that takes longer ends the run with exit 76.")
      .opt("lost_after", &ParallelSection::lost_after)
      .range(1, 86'400)
      .affects(Affects::io)
      .doc("A rank that gives no sign of life for so long counts as lost.")
      .validate([](const ParallelSection& p, OptionReport& report) {
        if (p.virtual_stages > 1 && p.pipeline == 1)
          report.error("virtual_stages", "interleaves the ranks of a pipeline, and there is one",
                       "set pipeline above 1, or virtual_stages to 1");
        const std::int64_t ranks = std::int64_t{p.data} * p.tensor;
        if (p.data > 0 && ranks % p.expert != 0)
          report.error("expert",
                       std::to_string(p.expert) + " does not divide data x tensor = " + std::to_string(p.data) + " x " +
                           std::to_string(p.tensor) + " = " + std::to_string(ranks),
                       "experts are spread over these ranks: give a divisor of " + std::to_string(ranks));
      })
      .build();
}

// The degrees as a map, or the word `auto` for all of them.
OptionSpec parallel_spec() {
  OptionSpec spec = OptionTableBuilder<Experiment>()
                        .group("parallel", &Experiment::parallel, parallel_table())
                        .affects(Affects::speed)
                        .doc(
                            "How ranks share the work: degrees, or auto: the model is split only as far as "
                            "hardware.gpu_memory asks for.")
                        .build()
                        .specs()
                        .front();
  spec.choices = {"auto"};
  spec.parse = [as_map = spec.parse](const Value& value, const std::string& key, const OptionSpec& self,
                                     const BindContext& context, void* object, Diagnostics& diagnostics,
                                     std::vector<ChildRequest>& children) {
    if (!value.is_scalar()) return as_map(value, key, self, context, object, diagnostics, children);
    if (value.text() != "auto")
      return diagnostics.error(value.where(), key, "expected degrees or auto, found '" + value.text() + "'",
                               "write auto, or a map such as {tensor: 2}");
    static_cast<Experiment*>(object)->parallel.automatic = true;
  };
  spec.render = [as_map = spec.render](const void* object) {
    return static_cast<const Experiment*>(object)->parallel.automatic ? std::string("auto") : as_map(object);
  };
  return spec;
}

OptionTable hardware_table() {
  return OptionTableBuilder<HardwareSection>()
      .opt("gpus", &HardwareSection::gpus)
      .range(0, most_ranks)
      .affects(Affects::naming)
      .doc("GPUs of all machines together, one rank each; 0: not said.")
      .opt("gpu_memory", &HardwareSection::gpu_memory)
      .at_least(0)
      .affects(Affects::naming)
      .doc("Memory of one GPU; 0: not said.")
      .opt("storage", &HardwareSection::storage)
      .at_least(0)
      .affects(Affects::naming)
      .doc("Space for prepared data and checkpoints; 0: not said.")
      .build();
}

OptionTable train_table() {
  return OptionTableBuilder<TrainSection>()
      .opt("steps", &TrainSection::steps)
      .range(1, most_counted)
      .required()
      .doc("Optimizer steps of the run.")
      .opt("batch", &TrainSection::batch)
      .range(1, most_counted)
      .required()
      .doc("Sequences of a global batch.")
      .opt("micro_batch", &TrainSection::micro_batch)
      .range(0, most_counted)
      .doc("Sequences of one rank's micro-batch; 0: the rank's whole part.")
      .opt("label_smoothing", &TrainSection::label_smoothing)
      .range(0, 0.999)
      .doc("Share of the target spread over the vocabulary.")
      .opt("z_loss", &TrainSection::z_loss)
      .at_least(0)
      .doc("Weight of the squared log of the softmax's normaliser.")
      .opt("clip_grad_norm", &TrainSection::clip_grad_norm)
      .at_least(0)
      .doc("The global gradient norm is scaled down to it; 0: never.")
      .opt("grad_norm_limit", &TrainSection::grad_norm_limit)
      .above(0)
      .doc("A step whose norm is larger changes nothing.")
      .opt("max_skipped", &TrainSection::max_skipped)
      .at_least(1)
      .affects(Affects::io)
      .doc("So many steps in a row that change nothing end the run.")
      .opt("recompute", &TrainSection::recompute)
      .affects(Affects::speed)
      .doc("Compute each layer's activations again in the backward pass, to save memory.")
      .opt("cuda_graphs", &TrainSection::cuda_graphs)
      .affects(Affects::speed)
      .doc(
          "On a GPU: record the work of a micro-batch once for each shape, and repeat it from then on. What cannot be "
          "recorded runs as without, and the log says why.")
      .choice("operators", &TrainSection::operators,
              {{"fused", OperatorChoice::fused}, {"reference", OperatorChoice::reference}})
      .doc(
          "reference: LibTorch's operators in place of our kernels, to see whether a kernel is to blame for what a run "
          "does. They round otherwise, and take more time and memory.")
      .validate([](const TrainSection& train, OptionReport& report) {
        if (train.micro_batch > train.batch)
          report.error("micro_batch",
                       std::to_string(train.micro_batch) + " is above batch " + std::to_string(train.batch),
                       "lower it");
        if (train.clip_grad_norm > train.grad_norm_limit)
          report.error("clip_grad_norm", "is above grad_norm_limit",
                       "lower it: a step above the limit is never applied");
      })
      .build();
}

OptionTable evaluate_table() {
  return OptionTableBuilder<EvaluateSection>()
      .opt("every", &EvaluateSection::every)
      .at_least(0)
      .affects(Affects::io)
      .doc("Steps between evaluations; 0: only at the end.")
      .opt("batches", &EvaluateSection::batches)
      .at_least(0)
      .affects(Affects::io)
      .doc("Batches of held-out text for each domain; 0: never.")
      .build();
}

} // namespace

const OptionTable& domain_table() {
  static const OptionTable table =
      OptionTableBuilder<DomainSection>()
          .opt("share", &DomainSection::share)
          .above(0)
          .doc("Relative weight of the domain in every batch.")
          .opt("skip_filters", &DomainSection::skip_filters)
          .doc("Names of filters that leave this domain alone: what judges prose drops code.")
          .custom(plugin_spec("source", "source", true, "Where its documents come from."))
          .build();
  return table;
}

namespace {

// Composition reads the block (sweep.hpp): here it is described, for the schema and the reference.
OptionSpec sweep_spec() {
  const auto part = [](const char* name, OptionType type, OptionType element, const char* doc) {
    OptionSpec spec;
    spec.name = name;
    spec.type = type;
    spec.element = element;
    spec.doc = doc;
    spec.affects = Affects::naming;
    return spec;
  };
  OptionSpec seeds = part("seeds", OptionType::list, OptionType::integer,
                          "Seeds of every member: a list, or how many from the experiment's own on.");
  seeds.minimum = 0;
  OptionSpec limit = part("limit", OptionType::integer, OptionType::text, "A sweep of more members is refused.");
  limit.default_text = std::to_string(default_sweep_limit);
  limit.minimum = 1;
  limit.maximum = most_sweep_members;
  OptionSpec spec = part("sweep", OptionType::group, OptionType::text,
                         "Members of a sweep: every entry of list x grid x ablations x seeds. No part of any member.");
  spec.fields = {
      part("list", OptionType::list, OptionType::map, "Maps of dotted keys to values: an entry is taken as a whole."),
      part("grid", OptionType::map, OptionType::list, "Dotted keys, each with a list of values: all combinations."),
      part("ablations", OptionType::map, OptionType::map,
           "Names, each with a map of dotted keys to values; the experiment as it is, base, is always one more."),
      std::move(seeds), std::move(limit)};
  return spec;
}

OptionTable build_experiment_table() {
  OptionSpec extends;
  extends.name = "extends";
  extends.type = OptionType::list;
  extends.element = OptionType::path;
  extends.doc = "Files that this one goes over, relative to it.";
  OptionSpec vars;
  vars.name = "vars";
  vars.type = OptionType::map;
  vars.element = OptionType::text;
  vars.doc = "Values that ${name} stands for.";
  return OptionTableBuilder<Experiment>()
      .custom(version_spec())
      .opt("name", &Experiment::name)
      .affects(Affects::naming)
      .doc("Names the run's folder; default: the file's name.")
      .opt("seed", &Experiment::seed)
      .at_least(0)
      .doc("Every random choice of the run is a pure function of it.")
      .custom(std::move(extends))
      .custom(std::move(vars))
      .custom(sweep_spec())
      .group("data", &Experiment::data, data_table())
      .required()
      .doc("From raw text to batches.")
      .custom(plugin_spec("model", "model", true, "The network."))
      .custom(plugin_spec("optimizer", "optimizer", true, "How weights follow gradients."))
      .custom(plugin_spec("scheduler", "scheduler", true, "The learning rate over the steps."))
      .group("precision", &Experiment::precision, precision_table())
      .doc("Number types.")
      .custom(parallel_spec())
      .group("hardware", &Experiment::hardware, hardware_table())
      .doc("What there is to run on, for `check` and `parallel: auto`.")
      .group("train", &Experiment::train, train_table())
      .required()
      .doc("The steps.")
      .group("evaluate", &Experiment::evaluate, evaluate_table())
      .doc("Held-out evaluation.")
      .custom(plugin_list_spec("monitors", "monitor", "What reports the steps.", Affects::io))
      .custom(plugin_spec("checkpoint", "checkpoint", false,
                          "When to save and what to keep; without it the run saves nothing on its way.", Affects::io))
      .validate([](const Experiment& experiment, OptionReport& report) {
        if (!experiment.name.empty() && !is_plain_name(experiment.name, true))
          report.error("name", "cannot name a folder", "use letters, digits, -, _ and dots, a letter or digit first");
      })
      .build();
}

} // namespace

const OptionTable& experiment_table() {
  static const OptionTable table = build_experiment_table();
  return table;
}

std::vector<std::string> data_keys() {
  std::vector<std::string> keys;
  const OptionTable table = data_table();
  for (const OptionSpec& spec : table.specs()) keys.push_back(spec.name);
  return keys;
}

} // namespace conclave
