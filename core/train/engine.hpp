// Engine: the one StepEngine, over an executor that decides how a step's program runs.
//
// What this is: the order of a step (the program) and the working state between its segments. What this is not: the parts
// themselves; storage, gate, precision, metrics and checkpoint_state have files of their own.
//
// Threading: one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "train/batch_transfer.hpp"
#include "train/buffer_storage.hpp"
#include "train/checkpoint_state.hpp"
#include "train/gate.hpp"
#include "train/gradient_reducer.hpp"
#include "train/pipeline_schedule.hpp"
#include "train/precision.hpp"
#include "train/stage_runner.hpp"
#include "train/step_engine.hpp"
#include "train/step_metrics.hpp"
#include "train/step_program.hpp"
#include "train/step_sums.hpp"
#include "train/storage.hpp"

namespace conclave::train {

class Engine final : public StepEngine {
 public:
  Engine(const EngineSettings& settings, EngineParts parts, std::unique_ptr<StepExecutor> executor);
  /// Describes, allocates, initialises and binds; call once before anything else.
  Status prepare();

  Result<StepResult> step(const data::HostStep& step) override;
  Result<EvaluationSums> evaluate(const data::HostStep& step) override;
  [[nodiscard]] std::int64_t optimizer_steps() const override { return host_.optimizer_steps; }
  Status snapshot(Snapshot& snapshot) const override;
  Status restore(const CheckpointReader& reader) override;
  void request_stop() override { stop_ = true; }
  [[nodiscard]] const std::vector<StageDescription>& descriptions() const override { return descriptions_; }
  [[nodiscard]] at::Tensor master(const std::string& name) const override;
  [[nodiscard]] at::Tensor gradient(const std::string& name) const override;

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
  };
  Status describe_and_allocate();
  /// Parameters of this rank whose other copy lies on another rank of the pipeline.
  Result<std::map<std::string, int>> find_ties() const;
  Result<const PipelineSchedule*> schedule(std::size_t micro_batches);
  Result<StepProgram> make_program(const data::HostStep& step);
  /// One micro-batch ends before the next begins.
  [[nodiscard]] bool one_at_a_time() const { return shape_.ranks == 1 && shape_.virtual_stages == 1; }
  Status upload();
  /// Brings a micro-batch to where all of its shape lie.
  void load(std::size_t micro_batch);
  /// Before the first pass of the step, or with `first` false before those of a later micro-batch.
  Status begin(bool first);
  Status backward(const PipelineAction& action, bool last);
  Status finish_chunk(std::size_t chunk);
  Status update();
  Status read();
  Result<double> scheduled_rate() const;

  EngineSettings settings_;
  EngineParts parts_;
  std::vector<StageDescription> descriptions_;
  std::unique_ptr<StepExecutor> executor_;
  at::Device device_;
  at::ScalarType master_type_;
  Group* pipeline_ = nullptr;                         ///< null: one rank
  PipelineShape shape_;                               ///< but the micro-batches
  std::map<std::size_t, PipelineSchedule> schedules_; ///< by micro-batches

  std::unique_ptr<ParameterStorage> parameters_;
  std::vector<std::unique_ptr<BufferStorage>> buffers_; ///< by chunk
  std::unique_ptr<StageRunner> runner_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<LossScaler> scaler_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<StepMetrics> metrics_;
  std::unique_ptr<StepSums> sums_;
  std::vector<Segment> segments_;
  bool optimizer_rounds_ = false; ///< OptimizerTraits::writes_values

  // Persistent device scalars, written once a step: learning rate, 1 / loss tokens, 1 / sequences, the wish to stop.
  at::Tensor inputs_;
  at::Tensor optimizer_step_; // fp32: applied updates
  BatchBuffers batch_buffers_;
  Current current_;
  HostMirror host_;
  bool stop_ = false;
};

} // namespace conclave::train
