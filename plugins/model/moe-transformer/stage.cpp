// The forward pass of a chunk, and the router bias after a step.

#include "stage.hpp"

#include <ATen/core/grad_mode.h>
#include <c10/core/Device.h>

#include <utility>

#include "conclave/ops/cross_entropy.hpp"
#include "conclave/ops/embedding.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/ops/linear.hpp"
#include "conclave/ops/parameter.hpp"
#include "conclave/ops/recompute.hpp"
#include "conclave/ops/rms_norm.hpp"
#include "conclave/ops/router.hpp"

namespace conclave::moe_transformer {
namespace {

at::Device device_of(const Device& device) {
  return device.kind == Device::Kind::cuda ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index))
                                           : at::Device(at::kCPU);
}

at::Tensor plus(const at::Tensor& total, const at::Tensor& term) {
  if (!term.defined()) return total;
  return total.defined() ? total.add(term) : term;
}

} // namespace

struct MoeStage::LayerContext {
  at::Tensor position_ids, token_mask;
  ops::AttentionMask local, whole;
  bool training = true;
};

MoeStage::MoeStage(const Config& config, const StageRequest& request)
    : config_(config),
      request_(request),
      layout_(make_layout(config, request.shape.vocabulary, request.chunk, request.chunks)) {}

Status MoeStage::bind(StageStorage storage) {
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

StageOutput MoeStage::forward(const StageInput& input) {
  const Batch& batch = *input.batch;
  at::Tensor x =
      layout_.embedding != absent ? ops::embedding(batch.tokens, param(layout_.embedding)) : input.activations;
  LayerContext context{batch.position_ids, batch.token_mask, {}, {}, input.training};
  bool any_local = false, any_whole = false;
  for (const LayerSlots& slots : layout_.layers) (config_.window_of(slots.layer) > 0 ? any_local : any_whole) = true;
  if (any_local) context.local = ops::make_attention_mask(x, batch.segment_ids, config_.hierarchy.window);
  if (any_whole) context.whole = ops::make_attention_mask(x, batch.segment_ids, 0);

  at::Tensor balance_loss, z_loss;
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
    balance_loss = plus(balance_loss, result.balance_loss);
    z_loss = plus(z_loss, result.z_loss);
  }

  StageOutput output;
  if (layout_.head != absent) {
    run_head(input, x, output);
  } else {
    output.activations = x;
  }
  if (balance_loss.defined()) {
    output.local_losses.push_back({"load_balance", balance_loss, config_.router.balance_loss, Normaliser::sequences});
  }
  if (z_loss.defined())
    output.local_losses.push_back({"router_z", z_loss, config_.router.z_loss, Normaliser::loss_tokens});
  return output;
}

MoeStage::LayerResult MoeStage::run_layer(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x,
                                          bool again) {
  const at::Tensor attended = run_attention(slots, context, x);
  if (slots.router != absent) return run_experts(slots, context, attended, again);
  const at::Tensor h = ops::rms_norm(attended, param(slots.post_norm), config_.norm_eps);
  return {ops::swiglu(h, param(slots.gate_up), param(slots.down), attended), {}, {}};
}

at::Tensor MoeStage::run_attention(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x) const {
  const at::Tensor h = ops::rms_norm(x, param(slots.input_norm), config_.norm_eps);
  ops::QkNorm norm;
  if (config_.qk_norm) norm = {param(slots.query_norm), param(slots.key_norm), config_.norm_eps};
  const ops::Qkv heads = ops::split_rotary(ops::linear(h, param(slots.qkv)), config_.heads, config_.key_heads(),
                                           context.position_ids, rotary_, config_.qk_norm ? &norm : nullptr);
  at::Tensor y = ops::attention(heads.query, heads.key, heads.value,
                                config_.window_of(slots.layer) > 0 ? context.local : context.whole);
  if (slots.head_gate != absent) {
    y = ops::head_gate(y, ops::linear(h, param(slots.head_gate), &param(slots.head_gate_bias)));
  }
  return ops::linear(y.view({x.size(0), x.size(1), config_.heads * config_.head_size()}), param(slots.output), nullptr,
                     x);
}

MoeStage::LayerResult MoeStage::run_experts(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x,
                                            bool again) {
  const at::Tensor h = ops::rms_norm(x, param(slots.post_norm), config_.norm_eps).view({-1, config_.width});
  at::Tensor residual = x.view({-1, config_.width});
  if (slots.shared_gate_up != absent) {
    residual = ops::swiglu(h, param(slots.shared_gate_up), param(slots.shared_down), residual);
  }
  const at::Tensor logits = ops::linear(h.to(ops::accumulation_type(h.scalar_type())), param(slots.router));
  ops::RouterOptions options;
  options.scores = config_.router.scores;
  options.top_k = config_.top_k;
  options.normalise_top_k = config_.router.normalise_top_k;
  options.scaling = config_.router.scaling;
  options.balance_loss = config_.router.balance_loss > 0;
  options.z_loss = config_.router.z_loss > 0;
  const at::Tensor bias = slots.selection_bias != absent ? storage_.buffers[slots.selection_bias] : at::Tensor{};
  const ops::Routing routing = ops::route(logits, bias, context.token_mask, x.size(0), options);
  if (context.training && !again) storage_.buffers[slots.counts].add_(routing.counts);
  const at::Tensor y =
      ops::swiglu_experts(h, routing.weights, routing.experts, param(slots.gate_up), param(slots.down), residual);
  return {y.view(x.sizes()), routing.balance_loss, routing.z_loss};
}

void MoeStage::run_head(const StageInput& input, const at::Tensor& x, StageOutput& output) const {
  const Batch& batch = *input.batch;
  const at::Tensor hidden = ops::rms_norm(x, param(layout_.final_norm), config_.norm_eps).view({-1, config_.width});
  const BoundParam& head = param(layout_.head);
  if (wants_logits_) {
    const at::NoGradGuard no_grad;
    output.logits = ops::linear(hidden, head).view({x.size(0), x.size(1), -1});
  }
  const ops::CrossEntropyOptions options{input.loss.label_smoothing, input.loss.z_loss, request_.shape.vocabulary};
  const auto loss =
      ops::cross_entropy(hidden, head, batch.labels.reshape({-1}), batch.loss_mask.reshape({-1}), options);
  output.local_losses.push_back({"cross_entropy", loss.loss_sum.to(request_.master), 1, Normaliser::loss_tokens});
  output.token_nll = loss.nll.view({x.size(0), x.size(1)});
}

void MoeStage::update_buffers(const StepGate& gate) {
  const at::NoGradGuard no_grad;
  for (const LayerSlots& slots : layout_.layers) {
    if (slots.selection_bias == absent) continue;
    at::Tensor& bias = storage_.buffers[slots.selection_bias];
    const at::Tensor& counts = storage_.buffers[slots.counts];
    // sign(mean - count) without rounding: the sum is compared with count * experts.
    const at::Tensor direction = counts.sum().sub(counts.mul(config_.experts)).sign().to(bias.scalar_type());
    bias.add_(direction.mul(gate.apply.to(bias.scalar_type())), config_.router.bias_update_rate);
  }
}

} // namespace conclave::moe_transformer
