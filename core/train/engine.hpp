// Engine: the one StepEngine, over an executor that decides how a step's program runs.
//
// What this is: the order of a step (the program) and the working state between its segments. What this is not: the parts
// themselves; storage, gate, precision, metrics and checkpoint_state have files of their own.
//
// Threading: one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "train/batch_transfer.hpp"
#include "train/checkpoint_state.hpp"
#include "train/gate.hpp"
#include "train/precision.hpp"
#include "train/step_engine.hpp"
#include "train/step_metrics.hpp"
#include "train/step_program.hpp"
#include "train/storage.hpp"

namespace conclave::train {

/// The plugins of an engine, with the ids that errors and the breadcrumb name.
struct EngineParts {
  std::unique_ptr<Stage> stage;
  std::shared_ptr<Optimizer> optimizer;
  std::shared_ptr<const Scheduler> scheduler; ///< null: the peak learning rate throughout
  std::string model_id, optimizer_id, scheduler_id;
};

class Engine final : public StepEngine {
 public:
  Engine(const EngineSettings& settings, EngineParts parts, StageDescription description,
         std::unique_ptr<StepExecutor> executor);
  /// Allocates, initialises and binds; call once before anything else.
  Status prepare();

  Result<StepResult> step(const data::HostStep& step) override;
  Result<EvaluationSums> evaluate(const data::HostStep& step) override;
  [[nodiscard]] std::int64_t optimizer_steps() const override { return host_.optimizer_steps; }
  void snapshot(Snapshot& snapshot) const override;
  Status restore(const CheckpointReader& reader) override;
  [[nodiscard]] const StageDescription& description() const override { return description_; }
  [[nodiscard]] at::Tensor master(const std::string& name) const override;
  [[nodiscard]] at::Tensor gradient(const std::string& name) const override;
  [[nodiscard]] Stage& stage() override { return *parts_.stage; }

 private:
  // What the host knows of the device's state, as of the last read.
  struct HostMirror {
    std::int64_t optimizer_steps = 0, skipped = 0, growth_tracker = 0;
    double loss_scale = 1;
  };
  // The step under way, which the host segments read and fill; a program itself knows no step.
  struct Current {
    const data::HostStep* step = nullptr;
    StepResult result;
    std::vector<const Batch*> batches;
  };
  StepProgram make_program(std::size_t micro_batches);
  Status upload();
  Status begin();
  /// Adds to the sums; losses that are not those of before are the model's fault.
  Status count(StepMetrics& metrics, const StageOutput& output, const Batch& batch) const;
  Status forward_backward(std::size_t micro_batch, bool last);
  Status finish_gradients();
  Status update();
  Status read();
  Result<StageOutput> forward(const Batch& batch, bool training);
  Result<double> scheduled_rate() const;

  EngineSettings settings_;
  EngineParts parts_;
  StageDescription description_;
  std::unique_ptr<StepExecutor> executor_;
  at::Device device_;
  at::ScalarType master_type_;

  std::unique_ptr<ParameterStorage> parameters_;
  std::unique_ptr<BufferStorage> buffers_;
  std::unique_ptr<LossScaler> scaler_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<StepMetrics> metrics_;
  std::vector<Segment> segments_;

  // Persistent device scalars, written once a step: learning rate, 1 / loss tokens, 1 / sequences.
  at::Tensor inputs_;
  at::Tensor optimizer_step_; // fp32: applied updates
  BatchBuffers batch_buffers_;
  Current current_;
  HostMirror host_;
};

} // namespace conclave::train
