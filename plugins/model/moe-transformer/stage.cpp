// The forward pass of a chunk, and what the routers keep after a step.

#include "stage.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "conclave/ops/experts.hpp"
#include "conclave/ops/linear.hpp"
#include "conclave/ops/parameter.hpp"
#include "conclave/ops/recompute.hpp"
#include "conclave/ops/rms_norm.hpp"
#include "conclave/ops/router.hpp"
#include "conclave/parallel/collectives.hpp"
#include "conclave/parallel/experts.hpp"
#include "conclave/parallel/vocabulary.hpp"

namespace conclave::moe_transformer {
namespace {

at::Device device_of(const Device& device) {
  return device.kind == Device::Kind::cuda ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index))
                                           : at::Device(at::kCPU);
}

/// In one launch, where a sum for each layer would be as many.
at::Tensor sum(const std::vector<at::Tensor>& terms) {
  return terms.size() == 1 ? terms.front() : at::stack(terms).sum();
}

Group* group_of(const StageRequest& request, MeshDim dim) {
  return request.groups != nullptr && request.mesh.size(dim) > 1 ? &request.groups->over({dim}) : nullptr;
}

} // namespace

struct MoeStage::LayerContext {
  std::int64_t sequences = 0, length = 0;
  at::Tensor position_ids, token_mask;
  ops::AttentionMask local, whole;
  bool training = true;
};

MoeStage::MoeStage(const Config& config, const StageRequest& request)
    : config_(config),
      request_(request),
      layout_(make_layout(config, request.shape.vocabulary, request.mesh, request.chunk, request.chunks)),
      tensor_(group_of(request, MeshDim::tensor)),
      expert_(group_of(request, MeshDim::expert)) {}

Status MoeStage::bind(StageStorage storage) {
  if (request_.groups == nullptr && (tensor_ranks() > 1 || request_.mesh.size(MeshDim::expert) > 1))
    return internal_error("the stage is split over ranks and was given no groups", "model/moe-transformer");
  const auto& expected = layout_.description;
  if (storage.parameters.size() != expected.parameters.size() || storage.buffers.size() != expected.buffers.size()) {
    return internal_error("the storage has " + std::to_string(storage.parameters.size()) + " parameters and " +
                              std::to_string(storage.buffers.size()) + " buffers, described were " +
                              std::to_string(expected.parameters.size()) + " and " +
                              std::to_string(expected.buffers.size()),
                          "model/moe-transformer");
  }
  for (std::size_t i = 0; i < expected.parameters.size(); ++i) {
    if (storage.parameters[i].value.sizes() != at::IntArrayRef(expected.parameters[i].shape)) {
      return internal_error("the storage of " + expected.parameters[i].name + " has another shape than described",
                            "model/moe-transformer");
    }
  }
  storage_ = std::move(storage);
  rotary_ = ops::make_rotary_table(request_.shape.max_length, config_.head_size(), config_.rope_theta, request_.compute,
                                   device_of(request_.device));
  return {};
}

std::vector<std::int64_t> MoeStage::activation_shape(std::int64_t rows, std::int64_t length) const {
  if (tensor_ranks() == 1) return {rows, length, config_.width};
  return {rows * length / tensor_ranks(), config_.width};
}

std::vector<std::int64_t> MoeStage::input_shape(std::int64_t rows, std::int64_t length) const {
  return request_.chunk > 0 ? activation_shape(rows, length) : std::vector<std::int64_t>{};
}

StageOutput MoeStage::forward(const StageInput& input) {
  const Batch& batch = *input.batch;
  LayerContext context{batch.tokens.size(0), batch.tokens.size(1), batch.position_ids, batch.token_mask, {}, {},
                       input.training};
  if (context.sequences * context.length % tensor_ranks() != 0) {
    throw std::invalid_argument("a micro-batch of " + std::to_string(context.sequences) + " sequences x " +
                                std::to_string(context.length) + " tokens / tensor " + std::to_string(tensor_ranks()) +
                                " is not whole; make data.batching.bucket_step a multiple of parallel.tensor");
  }
  at::Tensor x = layout_.embedding != absent
                     ? parallel::embedding(batch.tokens, param(layout_.embedding), vocabulary_first(), tensor_)
                     : input.activations.view({-1, config_.width});
  const at::Tensor like = at::empty({context.sequences, context.length, 0}, x.options()); // what attention works on
  bool any_local = false, any_whole = false;
  for (const LayerSlots& slots : layout_.layers) (config_.window_of(slots.layer) > 0 ? any_local : any_whole) = true;
  if (any_local) context.local = ops::make_attention_mask(like, batch.segment_ids, config_.hierarchy.window);
  if (any_whole) context.whole = ops::make_attention_mask(like, batch.segment_ids, 0);

  std::vector<at::Tensor> balance_losses, z_losses; // of the layers
  for (const LayerSlots& slots : layout_.layers) {
    LayerResult result;
    if (request_.recompute == Recompute::layer && at::GradMode::is_enabled()) {
      const auto part = [this, &slots, context](const at::Tensor& layer_input, bool again) {
        LayerResult r = run_layer(slots, context, layer_input, again);
        std::vector<at::Tensor> outputs{r.x};
        if (r.balance_loss.defined()) outputs.push_back(r.balance_loss);
        if (r.z_loss.defined()) outputs.push_back(r.z_loss);
        return outputs;
      };
      auto outputs = ops::recompute(part, x);
      std::size_t next = 0;
      result.x = outputs[next++];
      if (slots.router != absent && config_.router.balance_loss > 0) result.balance_loss = outputs[next++];
      if (slots.router != absent && config_.router.z_loss > 0) result.z_loss = outputs[next++];
    } else {
      result = run_layer(slots, context, x, false);
    }
    x = result.x;
    if (result.balance_loss.defined()) balance_losses.push_back(result.balance_loss);
    if (result.z_loss.defined()) z_losses.push_back(result.z_loss);
  }

  StageOutput output;
  if (layout_.head != absent) {
    run_head(input, x, output);
  } else {
    output.activations = x.view(activation_shape(context.sequences, context.length));
  }
  if (!balance_losses.empty()) {
    // The mean over sequences, or over micro-batches weighted by their sequences, or over tokens.
    output.local_losses.push_back({"load_balance", sum(balance_losses), config_.router.balance_loss,
                                   config_.keeps_load() ? Normaliser::loss_tokens : Normaliser::sequences});
  }
  if (!z_losses.empty())
    output.local_losses.push_back({"router_z", sum(z_losses), config_.router.z_loss, Normaliser::loss_tokens});
  return output;
}

MoeStage::LayerResult MoeStage::run_layer(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x,
                                          bool again) {
  const at::Tensor attended = run_attention(slots, context, x);
  if (slots.router != absent) return run_experts(slots, context, attended, again);
  const auto [h, residual] = ops::rms_norm_residual(attended, param(slots.post_norm), config_.norm_eps);
  return {run_swiglu(h, slots.gate_up, slots.down, residual), {}, {}};
}

at::Tensor MoeStage::run_attention(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x) const {
  const std::int64_t heads = config_.heads / tensor_ranks(), width = heads * config_.head_size();
  const std::int64_t key_heads = std::max<std::int64_t>(1, config_.key_heads() / tensor_ranks());
  const auto by_sequence = [&](const at::Tensor& rows) { return rows.view({context.sequences, context.length, -1}); };
  const auto [normed, residual] = ops::rms_norm_residual(x, param(slots.input_norm), config_.norm_eps);
  const at::Tensor h = parallel::gather_rows(normed, tensor_);
  ops::QkNorm norm;
  if (config_.qk_norm) norm = {param(slots.query_norm), param(slots.key_norm), config_.norm_eps};
  const ops::Qkv qkv = ops::split_rotary(by_sequence(own_heads(ops::linear(h, param(slots.qkv)))), heads, key_heads,
                                         context.position_ids, rotary_, config_.qk_norm ? &norm : nullptr);
  at::Tensor y =
      ops::attention(qkv.query, qkv.key, qkv.value, config_.window_of(slots.layer) > 0 ? context.local : context.whole);
  if (slots.head_gate != absent)
    y = ops::head_gate(y, by_sequence(ops::linear(h, param(slots.head_gate), &param(slots.head_gate_bias))));
  y = y.view({-1, width});
  if (tensor_ == nullptr) return ops::linear(y, param(slots.output), nullptr, residual);
  return residual + parallel::reduce_scatter_rows(ops::linear(y, param(slots.output)), tensor_);
}

at::Tensor MoeStage::own_heads(const at::Tensor& qkv) const {
  const std::int64_t ranks = tensor_ranks(), key_heads = config_.key_heads();
  if (key_heads >= ranks) return qkv;
  // The queries here read one key head, of which this rank has computed 1/sharing, as it has of its value head.
  const std::int64_t sharing = ranks / key_heads, slice = config_.head_size() / sharing;
  const std::int64_t queries = config_.heads / ranks * config_.head_size();
  const at::Tensor all = parallel::gather_columns(qkv.narrow(1, queries, 2 * slice), tensor_);
  const std::int64_t first = request_.mesh.index(MeshDim::tensor) / sharing * sharing;
  const at::Tensor head = all.view({-1, ranks, 2, slice}).narrow(1, first, sharing).transpose(1, 2);
  return at::cat({qkv.narrow(1, 0, queries), head.reshape({-1, 2 * config_.head_size()})}, 1);
}

at::Tensor MoeStage::run_swiglu(const at::Tensor& h, std::size_t gate_up, std::size_t down,
                                const at::Tensor& addend) const {
  if (tensor_ == nullptr) return ops::swiglu(h, param(gate_up), param(down), addend);
  const at::Tensor part = ops::swiglu(parallel::gather_rows(h, tensor_), param(gate_up), param(down));
  return addend + parallel::reduce_scatter_rows(part, tensor_);
}

MoeStage::LayerResult MoeStage::run_experts(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x,
                                            bool again) {
  const auto [h, stream] = ops::rms_norm_residual(x, param(slots.post_norm), config_.norm_eps);
  const at::Tensor residual =
      slots.shared_gate_up != absent ? run_swiglu(h, slots.shared_gate_up, slots.shared_down, stream) : stream;
  // Every tensor rank routes all tokens, so that losses and counts are whole and equal on each.
  const at::Tensor logits = parallel::gather_rows_replicated(ops::wide_linear(h, param(slots.router)), tensor_);
  ops::RouterOptions options;
  options.scores = config_.router.scores;
  options.top_k = config_.top_k;
  options.normalise_top_k = config_.router.normalise_top_k;
  options.scaling = config_.router.scaling;
  options.balance_loss = config_.router.balance_loss > 0;
  options.balance_scope = config_.router.balance_scope;
  options.z_loss = config_.router.z_loss > 0;
  const auto buffer = [&](std::size_t slot) { return slot != absent ? storage_.buffers[slot] : at::Tensor{}; };
  const ops::Routing routing = ops::route(logits, buffer(slots.selection_bias), context.token_mask, context.sequences,
                                          options, buffer(slots.previous_load));
  if (context.training && !again) storage_.buffers[slots.counts].add_(routing.counts);
  const at::Tensor y = parallel::swiglu_experts(h, parallel::own_rows(routing.weights, tensor_),
                                                parallel::own_rows(routing.experts, tensor_), param(slots.gate_up),
                                                param(slots.down), residual, expert_);
  return {y, routing.balance_loss, routing.z_loss};
}

std::int64_t MoeStage::vocabulary_first() const {
  return parallel::vocabulary_range(request_.shape.vocabulary, tensor_ranks(), request_.mesh.index(MeshDim::tensor))
      .first;
}

void MoeStage::run_head(const StageInput& input, const at::Tensor& x, StageOutput& output) const {
  const Batch& batch = *input.batch;
  const at::Tensor hidden =
      parallel::gather_rows(ops::rms_norm(x, param(layout_.final_norm), config_.norm_eps), tensor_);
  const BoundParam& head = param(layout_.head);
  if (wants_logits_) {
    const at::NoGradGuard no_grad;
    const at::Tensor logits = parallel::gather_columns(ops::linear(hidden, head), tensor_);
    output.logits =
        logits.narrow(1, 0, request_.shape.vocabulary).view({batch.tokens.size(0), batch.tokens.size(1), -1});
  }
  const ops::CrossEntropyOptions options{input.loss.label_smoothing, input.loss.z_loss, request_.shape.vocabulary};
  const auto loss = parallel::cross_entropy(hidden, head, vocabulary_first(), batch.labels.reshape({-1}),
                                            batch.loss_mask.reshape({-1}), options, tensor_);
  output.local_losses.push_back({"cross_entropy", loss.loss_sum.to(request_.master), 1, Normaliser::loss_tokens});
  output.token_nll = loss.nll.view(batch.tokens.sizes());
}

void MoeStage::update_buffers(const StepGate& gate) {
  const at::NoGradGuard no_grad;
  for (const LayerSlots& slots : layout_.layers) {
    if (slots.selection_bias != absent) {
      at::Tensor& bias = storage_.buffers[slots.selection_bias];
      const at::Tensor& counts = storage_.buffers[slots.counts];
      // sign(mean - count) without rounding: the sum is compared with count * experts.
      const at::Tensor direction = counts.sum().sub(counts.mul(config_.experts)).sign().to(bias.scalar_type());
      bias.add_(direction.mul(gate.apply.to(bias.scalar_type())), config_.router.bias_update_rate);
    }
    if (slots.previous_load != absent) {
      at::Tensor& previous = storage_.buffers[slots.previous_load];
      previous.copy_(at::where(gate.apply.ne(0), storage_.buffers[slots.counts], previous));
    }
  }
}

} // namespace conclave::moe_transformer
