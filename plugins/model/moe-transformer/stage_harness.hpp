// Test only: allocates, fills and binds stages as the host does, and runs forward and backward on small batches.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conclave/init.hpp"
#include "conclave/random.hpp"
#include "stage.hpp"

namespace conclave::moe_transformer {

inline Config tiny_config() {
  Config c;
  c.layers = 3;
  c.width = 24;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_width = 8;
  c.experts = 4;
  c.expert_width = 10;
  c.init_std = 0.2;
  return c;
}

/// A config with every feature on.
inline Config rich_config() {
  Config c = tiny_config();
  c.shared_experts = 1;
  c.dense_layers = 1;
  c.dense_width = 14;
  c.qk_norm = true;
  c.hierarchy.local_layers = 2;
  c.hierarchy.window = 5;
  c.hierarchy.head_gates = true;
  c.router.bias_update_rate = 0.01;
  c.router.scores = ops::RouterScores::sigmoid;
  c.router.scaling = 1.5;
  return c;
}

inline StageRequest request_of(std::int64_t vocabulary = 31, at::ScalarType compute = at::kFloat) {
  StageRequest request;
  request.shape = {vocabulary, 64};
  request.compute = compute;
  request.master = compute == at::kDouble ? at::kDouble : at::kFloat;
  return request;
}

/// A stage with storage of its own.
class BoundStage {
 public:
  BoundStage(const Config& config, const StageRequest& request, bool with_sinks, std::uint64_t seed = 5)
      : stage(config, request), description(stage.describe()) {
    StageStorage storage;
    for (const ParamSpec& spec : description.parameters) {
      const auto type = spec.full_precision ? request.master : request.compute;
      BoundParam param;
      param.value = at::empty(spec.shape, at::TensorOptions().dtype(type));
      EXPECT_TRUE(fill_parameter(spec, seed, param.value).ok());
      if (spec.name.find("head_gate") != std::string::npos) nudge(spec, param.value); // zero gates would hide mistakes
      param.value.requires_grad_();
      if (with_sinks) {
        sinks.push_back(std::make_unique<GradSink>());
        sinks.back()->gradient = at::empty(spec.shape, at::TensorOptions().dtype(request.master));
        sinks.back()->expected = spec.contributions;
        sinks.back()->begin_step();
        param.sink = sinks.back().get();
      }
      parameters[spec.name] = param;
      storage.parameters.push_back(param);
    }
    for (const BufferSpec& spec : description.buffers) {
      buffers[spec.name] = at::zeros(spec.shape, at::TensorOptions().dtype(spec.dtype));
      storage.buffers.push_back(buffers[spec.name]);
    }
    EXPECT_TRUE(stage.bind(std::move(storage)).ok());
  }

  /// By parameter name, from the sink or from autograd.
  [[nodiscard]] std::map<std::string, at::Tensor> gradients() const {
    std::map<std::string, at::Tensor> all;
    for (const auto& [name, param] : parameters) {
      all[name] = (param.sink != nullptr ? param.sink->gradient : param.value.grad()).clone();
    }
    return all;
  }

  MoeStage stage;
  StageDescription description;
  std::map<std::string, BoundParam> parameters;
  std::map<std::string, at::Tensor> buffers;
  std::vector<std::unique_ptr<GradSink>> sinks;

 private:
  static void nudge(const ParamSpec& spec, at::Tensor& value) {
    ParamSpec other = spec;
    other.init = {InitKind::normal, 0.5};
    EXPECT_TRUE(fill_parameter(other, 99, value).ok());
  }
};

inline Batch make_batch(std::int64_t sequences, std::int64_t length, std::int64_t vocabulary = 31) {
  const RandomStream stream(17, "batch");
  Batch batch;
  batch.tokens = at::empty({sequences, length}, at::kLong);
  batch.labels = at::empty({sequences, length}, at::kLong);
  for (std::int64_t i = 0; i < sequences * length; ++i) {
    const auto n = static_cast<std::uint64_t>(i);
    batch.tokens.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(stream.below(2 * n, static_cast<std::uint64_t>(vocabulary)));
    batch.labels.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(stream.below(2 * n + 1, static_cast<std::uint64_t>(vocabulary)));
  }
  batch.loss_mask = at::ones({sequences, length}, at::kBool);
  batch.loss_mask[0][1] = false;
  batch.position_ids = at::arange(length, at::kLong).expand({sequences, length}).contiguous();
  batch.global_loss_tokens = sequences * length - 1;
  batch.global_sequences = sequences;
  return batch;
}

/// The host's total: each local loss with its weight over its normaliser.
inline at::Tensor total_loss(const StageOutput& output, const Batch& batch) {
  at::Tensor total;
  for (const LocalLoss& loss : output.local_losses) {
    const auto by = static_cast<double>(loss.normaliser == Normaliser::loss_tokens ? batch.global_loss_tokens
                                                                                   : batch.global_sequences);
    const at::Tensor term = loss.sum * (loss.weight / by);
    total = total.defined() ? total + term : term;
  }
  return total;
}

inline StageInput input_of(const Batch& batch, const at::Tensor& activations = {}) {
  StageInput input;
  input.batch = &batch;
  input.activations = activations;
  input.loss = {0.1, 0.001};
  return input;
}

/// The largest difference, in units of the largest element of b.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const double scale = std::max(b.to(at::kDouble).abs().max().item<double>(), 1e-12);
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>() / scale;
}

} // namespace conclave::moe_transformer
