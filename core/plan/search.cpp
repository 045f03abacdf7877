// Degrees in turn, each with as much saved as its memory asks for.

#include "plan/search.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "plan/divisors.hpp"
#include "plan/stages.hpp"
#include "plan/step_work.hpp"

namespace conclave::plan {
namespace {

constexpr int most_virtual_stages = 8;

/// Memory and time, without the choice.
Result<LayoutPlan> plan_of(const Subject& subject, const PlannedLayout& stages, const Machine& machine) {
  LayoutPlan plan;
  plan.mesh = stages.mesh;
  CONCLAVE_ASSIGN(const std::vector<Memory> memory, memory_of(subject, stages));
  plan.memory = fullest(memory);
  CONCLAVE_ASSIGN(const StepWork work, step_work(subject, stages));
  CONCLAVE_ASSIGN(plan.time, step_time(work, machine));
  return plan;
}

class Searcher {
 public:
  Searcher(const Subject& subject, std::int64_t gpus, const Machine& machine, std::size_t most)
      : subject_(subject),
        experiment_(*subject.experiment),
        gpus_(gpus),
        machine_(machine),
        most_(most),
        room_(static_cast<std::int64_t>(planned_share * static_cast<double>(machine.gpu_memory))) {
    subject_.experiment = &experiment_;
    experiment_.parallel.automatic = false;
  }

  Status try_degrees(const ParallelSizes& sizes) {
    CONCLAVE_ASSIGN(const Mesh mesh, resolve_mesh(sizes, gpus_, 0));
    const std::int64_t batch = experiment_.train.batch;
    if (batch % sizes.data != 0) {
      refuse("train.batch " + std::to_string(batch) + " is no multiple of " + std::to_string(sizes.data) +
             " data ranks");
      return {};
    }
    for (const std::int64_t micro_batch : divisors(batch / sizes.data))
      for (int stages = 1; stages <= (sizes.pipeline > 1 ? most_virtual_stages : 1); ++stages)
        CONCLAVE_RETURN_IF_ERROR(try_choice({sizes, stages, micro_batch, false, true}, mesh));
    return {};
  }

  Result<LayoutSearch> result() {
    if (!search_.best.empty()) return std::move(search_);
    if (least_)
      return unsupported("no layout of " + std::to_string(gpus_) + " GPUs fits: " + describe(least_->mesh) +
                             ", which needs the least, needs " + arithmetic(least_->memory) + " of " +
                             size_text(room_) + " (a GPU's memory less a twentieth)",
                         "plan for more GPUs, or for a smaller model or train.batch");
    return unsupported("no layout of " + std::to_string(gpus_) + " GPUs suits the experiment (" + refused_ + ")",
                       "use another number of GPUs, or change train.batch");
  }

 private:
  void refuse(std::string why) {
    if (refused_.empty()) refused_ = std::move(why);
  }

  /// The stages of a choice; whether states are sharded is no concern of theirs.
  Result<PlannedLayout> stages_of(const LayoutChoice& choice, const Mesh& mesh) {
    experiment_.parallel.virtual_stages = choice.virtual_stages;
    experiment_.train.micro_batch = choice.micro_batch;
    experiment_.train.recompute = choice.recompute;
    return plan_layout(subject_, mesh);
  }

  Result<LayoutPlan> plan(const LayoutChoice& choice, const PlannedLayout& stages) {
    experiment_.parallel.shard_optimizer = choice.shard_optimizer;
    CONCLAVE_ASSIGN(LayoutPlan plan, plan_of(subject_, stages, machine_));
    plan.choice = choice;
    return plan;
  }

  /// The choice; with everything recomputed where that is what makes it fit; with whole states where they fit, too.
  Status try_choice(LayoutChoice choice, const Mesh& mesh) {
    auto stages = stages_of(choice, mesh);
    auto planned = stages.ok() ? plan(choice, *stages) : stages.error();
    if (!planned.ok()) {
      if (planned.error().code == Code::internal) return planned.status();
      refuse(describe(mesh) + ": " + planned.error().what);
      return {};
    }
    if (planned->bytes() > room_) {
      choice.recompute = true;
      CONCLAVE_ASSIGN(stages, stages_of(choice, mesh));
      CONCLAVE_ASSIGN(planned, plan(choice, *stages));
    }
    if (planned->bytes() > room_) {
      ++search_.too_large;
      if (!least_ || planned->bytes() < least_->bytes()) least_ = std::move(planned).value();
      return {};
    }
    keep(std::move(planned).value());
    if (mesh.world_size() == 1) return {};
    choice.shard_optimizer = false;
    CONCLAVE_ASSIGN(LayoutPlan whole, plan(choice, *stages));
    if (whole.bytes() <= room_) keep(std::move(whole));
    return {};
  }

  void keep(LayoutPlan plan) {
    ++search_.fitting;
    // Of two as fast the one that needs less memory.
    const auto before = [](const LayoutPlan& a, const LayoutPlan& b) {
      return std::pair(a.time.seconds, a.bytes()) < std::pair(b.time.seconds, b.bytes());
    };
    auto& best = search_.best;
    best.insert(std::upper_bound(best.begin(), best.end(), plan, before), plan);
    if (best.size() > most_) best.pop_back();
  }

  Subject subject_;
  Experiment experiment_; ///< the subject's, with the choice under way
  std::int64_t gpus_;
  const Machine& machine_;
  std::size_t most_;
  std::int64_t room_; ///< bytes that a layout may take
  LayoutSearch search_;
  std::optional<LayoutPlan> least_;
  std::string refused_;
};

} // namespace

LayoutChoice choice_of(const Experiment& experiment, const Mesh& mesh) {
  LayoutChoice choice;
  choice.sizes = {mesh.size(MeshDim::tensor), mesh.size(MeshDim::pipeline), mesh.size(MeshDim::expert),
                  mesh.size(MeshDim::data)};
  choice.virtual_stages = experiment.parallel.virtual_stages;
  choice.micro_batch = experiment.train.micro_batch > 0 ? experiment.train.micro_batch.value
                                                        : experiment.train.batch / choice.sizes.data;
  choice.recompute = experiment.train.recompute;
  choice.shard_optimizer = experiment.parallel.shard_optimizer;
  return choice;
}

Result<LayoutPlan> plan_layout_on(const Subject& subject, const Mesh& mesh, const Machine& machine) {
  CONCLAVE_ASSIGN(const PlannedLayout stages, plan_layout(subject, mesh));
  CONCLAVE_ASSIGN(LayoutPlan plan, plan_of(subject, stages, machine));
  plan.choice = choice_of(*subject.experiment, mesh);
  return plan;
}

Result<LayoutSearch> search_layouts(const Subject& subject, std::int64_t gpus, const Machine& machine,
                                    std::size_t most) {
  Searcher searcher(subject, gpus, machine, most);
  for (const std::int64_t pipeline : divisors(gpus))
    for (const std::int64_t tensor : divisors(gpus / pipeline)) {
      if (tensor > machine.gpus_per_node) break;
      for (const std::int64_t expert : divisors(gpus / pipeline))
        CONCLAVE_RETURN_IF_ERROR(searcher.try_degrees({tensor, pipeline, expert, gpus / pipeline / tensor}));
    }
  return searcher.result();
}

} // namespace conclave::plan
