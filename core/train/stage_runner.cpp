// Forward and backward passes of chunks.

#include "train/stage_runner.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include "plugin/guard.hpp"

namespace conclave::train {

using Kind = PipelineAction::Kind;

StageRunner::StageRunner(std::vector<std::unique_ptr<Stage>> stages, const RunnerSettings& settings)
    : stages_(std::move(stages)),
      settings_(settings),
      transfers_(settings.pipeline, static_cast<int>(stages_.size())) {}

void StageRunner::begin(const PipelineSchedule& schedule, std::vector<const Batch*> batches) {
  kept_.clear(); // of a step that failed half-way
  batches_ = std::move(batches);
  transfers_.begin(schedule);
}

at::Tensor StageRunner::receive(const PipelineAction& action) {
  return transfers_.receive(action, [&](const PipelineAction& by) {
    std::vector<std::int64_t> shape;
    if (by.kind == Kind::forward) {
      const at::Tensor& tokens = batches_[static_cast<std::size_t>(by.micro_batch)]->tokens;
      shape = stages_[static_cast<std::size_t>(by.chunk)]->input_shape(tokens.size(0), tokens.size(1));
    } else {
      shape = kept_.at({by.chunk, by.micro_batch}).output.activations.sizes().vec();
    }
    return at::empty(shape, at::TensorOptions().device(settings_.device).dtype(settings_.compute));
  });
}

Status StageRunner::forward(const PipelineAction& action, StepMetrics& metrics, bool training) {
  const auto chunk = static_cast<std::size_t>(action.chunk);
  StageInput input;
  input.batch = batches_[static_cast<std::size_t>(action.micro_batch)];
  input.loss = settings_.loss;
  input.training = training;
  return guard(settings_.model_id.c_str(), "forward", [&]() -> Status {
    if (transfers_.needs(action)) {
      input.activations = receive(action);
      if (training) input.activations.requires_grad_();
    }
    StageOutput output = stages_[chunk]->forward(input);
    CONCLAVE_RETURN_IF_ERROR(metrics.add(output, *input.batch, chunk));
    if (output.activations.defined()) transfers_.send(action, output.activations);
    if (training) kept_[{action.chunk, action.micro_batch}] = {input.activations, std::move(output)};
    return {};
  });
}

Status StageRunner::backward(const PipelineAction& action, const Seeds& seeds) {
  const auto found = kept_.find({action.chunk, action.micro_batch});
  if (found == kept_.end()) return internal_error(to_string(action) + " comes before its forward pass");
  return guard(settings_.model_id.c_str(), "backward", [&]() -> Status {
    torch::autograd::variable_list roots, gradients;
    const StageOutput& output = found->second.output;
    if (transfers_.needs(action)) {
      gradients.push_back(receive(action));
      roots.push_back(output.activations);
    }
    // Gradients are summed over ranks, so the seed divides by the global count and never by a rank's own.
    for (const LocalLoss& loss : output.local_losses) {
      if (loss.weight == 0 || !loss.sum.requires_grad()) continue;
      const at::Tensor& inverse =
          loss.normaliser == Normaliser::loss_tokens ? seeds.inverse_loss_tokens : seeds.inverse_sequences;
      roots.push_back(loss.sum);
      gradients.push_back((seeds.loss_scale * inverse).mul_(loss.weight).to(loss.sum.scalar_type()));
    }
    if (roots.empty())
      return internal_error("the model returned no loss that depends on its parameters", settings_.model_id);
    torch::autograd::backward(roots, gradients);
    const at::Tensor input = found->second.input;
    kept_.erase(found);
    if (input.defined()) transfers_.send(action, input.grad());
    return {};
  });
}

} // namespace conclave::train
