// StepEngine: owns parameters, gradients, optimizer states and loss scale of a rank, and runs training steps.
//
// One step: micro-batches -> forward and backward of the stage -> main gradients -> StepGate on the device (found-inf,
// global norm, limit, clip) -> optimizer on its segments -> compute copies -> router buffers -> loss scale. The engine itself
// waits for the device once a step, when it reads the results after the update; a plugin may add waits of its own.
//
// Over many ranks every call is collective, and every rank gets the same results.
//
// What this is: the math of a step on one layout. What this is not: loading, checkpoints, monitors or the loop (run/).
//
// Threading: one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/scheduler.hpp"
#include "data/batch_plan.hpp"
#include "train/step_program.hpp"

namespace conclave {

struct LossScaleSettings {
  bool dynamic = false; ///< fp16
  double initial = 65536, growth = 2, backoff = 0.5, minimum = 1;
  std::int64_t interval = 2000;
};

/// How the step is spread over ranks.
struct EngineParallel {
  Mesh mesh;
  std::shared_ptr<Groups> groups; ///< null: one rank
  bool shard_optimizer = true;    ///< masters and optimizer states over the ranks that sum a gradient (ZeRO stage 1)
  at::ScalarType gradient_type = at::ScalarType::Undefined; ///< in which gradients travel; undefined: as they are kept
  std::int64_t bucket = std::int64_t{1} << 24;              ///< elements that are reduced at a time
};

struct EngineSettings {
  Device device;
  at::ScalarType compute = at::kFloat; ///< kFloat, kBFloat16, kHalf, kDouble
  std::uint64_t seed = 0;
  LossOptions loss;
  double clip_grad_norm = 1;
  double grad_norm_limit = 1e6;
  LossScaleSettings loss_scale;
  std::int64_t total_steps = 1;
  std::size_t domains = 1;
  EngineParallel parallel;
  train::SegmentHook segment_hook; ///< may be empty
  bool graphs = false;             ///< on a GPU: steps as CUDA graphs (train/graph_executor.hpp)
  int eager_steps = 1;             ///< with graphs: with micro-batches of a shape, before it is recorded
  std::function<void(const std::string&)> graph_note; ///< told why steps are not recorded; may be empty
};

/// What one step did, over all ranks and the same on each; plain numbers, read from the device in one copy.
struct StepResult {
  double loss = 0, nll = 0, grad_norm = 0; ///< loss: weighted sum of `losses`; grad_norm: unscaled, before clipping
  double learning_rate = 0;                ///< of this step, also when it was not applied
  double loss_scale = 1;                   ///< after this step
  bool applied = true;                     ///< false: non-finite or over the limit
  bool finite = true;
  std::int64_t loss_tokens = 0;
  std::vector<std::pair<std::string, double>> losses; ///< each local loss, normalised, unweighted
  /// Counter buffers with report_as: name, layer, value of each element.
  struct Counter {
    std::string name;
    int layer = 0;
    std::vector<double> values;
  };
  std::vector<Counter> counters;
  std::vector<double> domain_nll_sum;      ///< by domain
  std::vector<std::int64_t> domain_tokens; ///< that counted in the loss, of this data rank's part of the batch
  bool stop = false;                       ///< a rank was asked to stop before this step (request_stop())
};

/// Sums of one evaluation batch by domain, over all data ranks.
struct EvaluationSums {
  std::vector<double> nll;
  std::vector<std::int64_t> tokens;
};

class StepEngine {
 public:
  virtual ~StepEngine() = default;
  /// After an error the step counts as not taken; the engine can go on only if it came before the update (a bad batch, a
  /// learning rate that is no number, forward or backward pass).
  virtual Result<StepResult> step(const data::HostStep& step) = 0;
  virtual Result<EvaluationSums> evaluate(const data::HostStep& step) = 0;
  /// The next step's result tells every rank that this one was asked to stop.
  virtual void request_stop() = 0;

  [[nodiscard]] virtual std::int64_t optimizer_steps() const = 0;
  /// Tensors (parameters, optimizer states, state buffers) and the host's own scalars (loss scale, optimizer step).
  /// Over many ranks each gives what it owns; the host's scalars are the same on all.
  virtual Status snapshot(Snapshot& snapshot) const = 0;
  virtual Status restore(const CheckpointReader& reader) = 0;

  /// Of this rank's chunks.
  [[nodiscard]] virtual const std::vector<StageDescription>& descriptions() const = 0;
  /// By parameter name of a description, for tests; undefined where this rank does not hold the whole tensor.
  [[nodiscard]] virtual at::Tensor master(const std::string& name) const = 0;
  [[nodiscard]] virtual at::Tensor gradient(const std::string& name) const = 0;
};

/// The plugins of an engine, with the ids that errors name.
struct EngineParts {
  std::vector<std::unique_ptr<Stage>> stages; ///< this rank's chunks, in the order of the model
  std::shared_ptr<Optimizer> optimizer;
  std::shared_ptr<const Scheduler> scheduler; ///< null: the peak learning rate throughout
  std::string model_id = "model", optimizer_id = "optimizer", scheduler_id = "scheduler";
};

/// Describes, allocates, initialises and binds. On a GPU it also chooses torch's attention back ends, for the whole process.
/// Collective.
Result<std::unique_ptr<StepEngine>> make_step_engine(const EngineSettings& settings, EngineParts parts);

} // namespace conclave
