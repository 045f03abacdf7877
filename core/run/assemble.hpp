// From a bound experiment to live plugins: what the prepare and the train phase need.
//
// Threading: main thread; the returned factories may be called on workers one at a time.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "conclave/checkpoint_policy.hpp"
#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/scheduler.hpp"
#include "config/experiment.hpp"
#include "data/loader.hpp"
#include "data/prepare.hpp"
#include "launch/ranks.hpp"
#include "plan/memory.hpp"
#include "plan/storage.hpp"
#include "run/host_services.hpp"
#include "run/observer.hpp"

namespace conclave {

/// `$XDG_CACHE_HOME/conclave` or `~/.cache/conclave`.
std::filesystem::path default_cache_directory();

/// Sources, filters and tokenizer of the experiment as prepare() wants them.
Result<data::PrepareRequest> assemble_prepare(const Experiment& experiment, HostServices& host);

/// The training batches of prepared data. `prepared`: as prepare() left it; its tokenizer knows the tokens that the experiment
/// names, and whole documents that share sequences (`packing: best_fit`) are worked out in its cache.
Result<std::shared_ptr<const data::BatchPlan>> assemble_batches(const Experiment& experiment,
                                                                std::shared_ptr<const data::TokenStore> store,
                                                                const data::PrepareRequest& prepared, int data_rank,
                                                                int data_ranks);
/// The plan of one domain's held-out batches: one pass over windows or documents, by the experiment's lengths alone.
data::PlanSettings held_out_plan(const Experiment& experiment, int domain);

struct TrainPlugins {
  std::shared_ptr<Model> model;
  std::shared_ptr<Optimizer> optimizer;
  std::shared_ptr<Scheduler> scheduler;
  std::shared_ptr<CheckpointPolicy> checkpoint;
};
Result<TrainPlugins> assemble_training(const Experiment& experiment, HostServices& host);
/// Only the monitors that this rank runs.
Result<std::vector<Observer::Watched>> assemble_monitors(const Experiment& experiment, HostServices& host, int rank,
                                                         int local_rank);

/// What plans are made of, in the check phase. The subject points into the rest, and to the experiment, which outlives it.
struct PlanPlugins {
  std::unique_ptr<Logger> log;
  std::unique_ptr<HostServices> host;
  std::shared_ptr<Model> model;
  plan::Subject subject;
};
Result<PlanPlugins> assemble_plan(const Experiment& experiment);

/// The degrees of `parallel`, as resolve_mesh() takes them; not of `parallel: auto`.
ParallelSizes parallel_sizes(const Experiment& experiment);

/// The same for that many ranks; `parallel: auto` is chosen for them (plan/layout.hpp) by plugins made in the check
/// phase. Every rank gets the same answer.
Result<ParallelSizes> layout_for(const Experiment& experiment, std::int64_t ranks);

/// What a run would need, as far as it can be known before.
struct RunNeeds {
  Mesh mesh;
  std::vector<plan::Memory> memory; ///< by rank of the pipeline; empty when it is not known
  plan::Storage storage;
};

/// Makes every plugin of the experiment in the check phase and reports what does not work: factories that refuse, a
/// layout that does not fold, a model that does not fit its shape or layout, memory or storage that `hardware` does not
/// have. Then the advice on warm-up, learning rate and clip.
///
/// `ranks`: how many; 0: hardware.gpus, or where that is not said the fewest that the layout needs.
RunNeeds check_assembled(const Experiment& experiment, Diagnostics& diagnostics, std::int64_t ranks = 0);

} // namespace conclave
