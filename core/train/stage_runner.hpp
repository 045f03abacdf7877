// StageRunner: the chunks of this rank, one forward or backward pass of a micro-batch at a time.
//
// What this is: the calls into the model, what is kept between a forward pass and its backward pass, and the messages along
// the pipeline. What this is not: an order (pipeline_schedule.hpp), or sums of gradients over ranks.
//
// Threading: the step thread; a backward pass runs on autograd's threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conclave/model.hpp"
#include "train/pipeline_transfers.hpp"
#include "train/step_metrics.hpp"

namespace conclave::train {

/// What a micro-batch's losses are multiplied with before the backward pass: scalars on the device.
struct Seeds {
  at::Tensor loss_scale, inverse_loss_tokens, inverse_sequences;
};

struct RunnerSettings {
  at::Device device = at::kCPU;
  at::ScalarType compute = at::kFloat; ///< of activations between chunks
  LossOptions loss;
  Group* pipeline = nullptr; ///< null: one rank
  std::string model_id;
};

class StageRunner {
 public:
  StageRunner(std::vector<std::unique_ptr<Stage>> stages, const RunnerSettings& settings);

  /// Before the first pass of a step, or of an evaluation. The batches live until their last pass. Where one micro-batch ends
  /// before the next begins, all are number 0, and load() gives each before its first pass.
  void begin(const PipelineSchedule& schedule, std::vector<const Batch*> batches);
  void load(const Batch* batch) { batches_[0] = batch; }
  /// Adds the losses to `metrics`. `training` keeps what the backward pass needs.
  Status forward(const PipelineAction& action, StepMetrics& metrics, bool training);
  Status backward(const PipelineAction& action, const Seeds& seeds);
  /// After the last pass.
  void finish() { transfers_.finish(); }

  [[nodiscard]] const std::vector<std::unique_ptr<Stage>>& stages() const noexcept { return stages_; }

 private:
  struct Kept {
    at::Tensor input; ///< a leaf; undefined for the model's first chunk
    StageOutput output;
  };
  at::Tensor receive(const PipelineAction& action);

  std::vector<std::unique_ptr<Stage>> stages_;
  RunnerSettings settings_;
  PipelineTransfers transfers_;
  std::vector<const Batch*> batches_;
  std::map<std::pair<int, int>, Kept> kept_; ///< by chunk and micro-batch
};

} // namespace conclave::train
