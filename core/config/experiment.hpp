// Experiment: the typed form of one experiment YAML, with every plugin block bound to its plugin's option table.
//
// What this is: the result of reading, composing (extends, vars, --set) and binding; nothing here touches data, a device
// or a socket. What this is not: the YAML reader (yaml_reader.hpp) or the composition rules (compose.hpp).
//
// Threading: immutable after load_experiment().
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/options.hpp"
#include "conclave/plugin.hpp"
#include "conclave/value.hpp"
#include "config/compose.hpp"
#include "plugin/catalog.hpp"

namespace conclave {

/// A `{use, with, name?}` block after binding. Children are bound too; instantiate() (run/instantiate.hpp) builds them
/// inside out.
struct PluginBlock {
  struct BoundChild;
  std::string id;
  std::string name; ///< `name:` of a list's item, else the part of the id after the slash
  std::string key;  ///< dotted path of the block in the experiment: unique, so it is the instance's name
  Location where;
  const PluginDescriptor* descriptor = nullptr; ///< null: the block was left out
  std::shared_ptr<void> options;                ///< bound, from descriptor->options.make()
  std::vector<BoundChild> children;
  explicit operator bool() const { return descriptor != nullptr; }
};
struct PluginBlock::BoundChild {
  ChildRequest request;
  PluginBlock block;
};

struct DomainSection {
  std::string name;
  double share = 1;                      ///< relative weight > 0; the host normalises
  std::vector<std::string> skip_filters; ///< names of filters that leave this domain alone
  PluginBlock source;
};

enum class TooLong { drop, split, truncate };
enum class BatchingMode { pack, bucket };
enum class Packing { concat, best_fit };
enum class MixtureRule { given, temperature, unimax };
enum class InvalidUtf8 { replace, drop };

struct WeightsSection {
  MixtureRule rule = MixtureRule::given;
  double alpha = 0.3; ///< temperature
  double passes = 4;  ///< unimax
};

/// A stage of the run; what it leaves out is as without a curriculum.
struct CurriculumSection {
  StepsOrFraction from;
  std::map<std::string, double> shares; ///< by domain
  std::optional<Count> length;
};

struct FillInMiddleSection {
  Fraction rate = 0, spm = 0;
  std::string prefix, suffix, middle; ///< tokens as they are written
  std::vector<std::string> domains;   ///< empty: all
};

struct DataSection {
  std::vector<DomainSection> domains; ///< in the order written
  std::vector<PluginBlock> filters;
  PluginBlock tokenizer;
  struct Length {
    Count min = 1, max = 2048; ///< tokens of a document; max is the sequence length
    TooLong too_long = TooLong::split;
  } length;
  struct Batching {
    BatchingMode mode = BatchingMode::pack;
    Packing packing = Packing::concat; ///< pack
    bool document_attention = false;   ///< pack: attention and positions restart at each document
    Count bucket_step = 128;           ///< bucket: padded lengths are multiples of this, up to length.max
    bool drop_last = true;             ///< nothing else is accepted: every batch is full
  } batching;
  WeightsSection weights;
  std::vector<CurriculumSection> curriculum;
  FillInMiddleSection fill_in_middle;
  Fraction held_out = 0.01; ///< of the documents, by hash, after dedup
  Bytes tokenizer_sample =
      20'000'000; ///< text that a tokenizer trained in the run sees, spread over the domains by share
  InvalidUtf8 invalid_utf8 = InvalidUtf8::replace;
  Path cache;                           ///< default: $XDG_CACHE_HOME/conclave/data
  int workers = 0;                      ///< 0 = all cores
  Bytes memory = std::int64_t{1} << 30; ///< for what is sorted at once
};

enum class Compute { fp32, bf16, fp16, fp64 };

struct PrecisionSection {
  Compute compute = Compute::fp32;
  struct LossScale { // fp16 only
    double initial = 65536, growth = 2, backoff = 0.5, minimum = 1;
    Count interval = 2000;
  } loss_scale;
  bool deterministic = false; ///< on a GPU
};

enum class GradientType { master, bf16 };

struct ParallelSection {
  bool automatic =
      false; ///< `parallel: auto`: chosen for the number of ranks (plan/layout.hpp); the degrees below say nothing
  int tensor = 1, pipeline = 1, expert = 1;
  int data = 0;           ///< 0 = auto: what is left of the ranks
  int virtual_stages = 1; ///< chunks of the model on each rank of the pipeline
  bool shard_optimizer = true;
  GradientType gradients = GradientType::master; ///< type in which gradients travel
  Bytes bucket = 64'000'000;                     ///< gradients that travel together
  Seconds timeout = 600;                         ///< for one collective
  Seconds lost_after = 30;                       ///< without a sign of life, a rank counts as lost
};

/// What there is to run on. It changes no number; `check` and `parallel: auto` reckon with it. 0: not said.
struct HardwareSection {
  int gpus = 0;         ///< ranks, of all machines together
  Bytes gpu_memory = 0; ///< of one GPU
  Bytes storage = 0;    ///< for prepared data and checkpoints
};

enum class OperatorChoice { fused, reference };

struct TrainSection {
  Count steps = 0;       ///< required
  Count batch = 0;       ///< required: sequences in the global batch
  Count micro_batch = 0; ///< sequences of a rank's micro-batch; 0 = batch
  double label_smoothing = 0, z_loss = 0;
  double clip_grad_norm = 1.0;
  double grad_norm_limit = 1e6; ///< a larger norm applies nothing
  int max_skipped = 10;         ///< so many skipped steps in a row end the run with exit 4
  bool recompute = false;       ///< activations of each layer
  bool cuda_graphs = true;      ///< where there is a GPU
  OperatorChoice operators = OperatorChoice::fused;
};

struct EvaluateSection {
  Count every = 0;   ///< steps; 0 = only at the end
  Count batches = 8; ///< of held-out text for each domain; 0 = never
};

struct Experiment {
  std::string name; ///< default: the file's name without its extension
  std::uint64_t seed = 0;
  DataSection data;
  PluginBlock model, optimizer, scheduler, checkpoint;
  PrecisionSection precision;
  ParallelSection parallel;
  HardwareSection hardware;
  TrainSection train;
  EvaluateSection evaluate;
  std::vector<PluginBlock> monitors;

  Value tree;                     ///< composed tree before binding
  Substituted substituted;        ///< the variables and where they were used; no part of the hash
  std::vector<std::string> files; ///< every file that took part, absolute, the experiment first
  std::string hash;               ///< SHA-256 hex of the resolved values
  std::string hash_without_seed;
  std::string resolved_yaml; ///< re-runnable; every value with its origin as a comment
  /// dotted key -> {text, what it affects}; the input of diff, resume checks and `RunInfo::settings`.
  struct Setting {
    std::string value, origin;
    Affects affects = Affects::numerics;
  };
  std::map<std::string, Setting> settings;
  /// dotted key -> what other layers (extended files, `--set`) said before, oldest first; the input of `config explain`.
  OverrideHistory history;
  std::vector<SweepMember> sweep; ///< members of its `sweep:` block; no part of the resolved form
  std::string member;             ///< the one that this is; "" for the experiment itself
};

struct LoadOptions {
  std::vector<std::string> overrides; ///< `a.b.c=value`, in order
  std::string member = {};            ///< of the `sweep:` block; "" for the experiment itself
};

/// Reads, composes and binds. All problems go to `diagnostics`; the experiment is there only when none is an error.
std::optional<Experiment> load_experiment(const std::string& path, const LoadOptions& options, PluginCatalog& catalog,
                                          Diagnostics& diagnostics);

} // namespace conclave
