// MoeStage: one pipeline chunk of the network as autograd sees it. It owns nothing but its rotary table.
//
// Activations are rows [T/t, width]: of the T = B S tokens in (sequence, position) order, the own rows of this one among t
// tensor ranks (conclave/parallel/collectives.hpp). Norms, residuals and the router's product work on them. Attention, dense
// layers, shared experts and the loss gather all rows, compute a part each, and scatter the sum. Experts exchange own rows
// over the expert ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "conclave/model.hpp"
#include "conclave/ops/attention.hpp"
#include "conclave/ops/rotary.hpp"
#include "layout.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "work.hpp"

namespace conclave::moe_transformer {

class MoeStage final : public Stage {
 public:
  /// The request fits the config: model.cpp has checked.
  MoeStage(const Config& config, const StageRequest& request);

  [[nodiscard]] StageDescription describe() const override { return layout_.description; }
  [[nodiscard]] ActivationBytes activation_bytes(std::int64_t rows, std::int64_t length) const override {
    return moe_transformer::activation_bytes(config_, request_, rows, length);
  }
  [[nodiscard]] StageWork work(std::int64_t rows, std::int64_t length) const override {
    return stage_work(config_, request_, rows, length);
  }
  Status bind(StageStorage storage) override;
  /// [B, S, width], or [B S / t, width] with t > 1 tensor ranks.
  [[nodiscard]] std::vector<std::int64_t> input_shape(std::int64_t rows, std::int64_t length) const override;
  /// Throws std::invalid_argument when the tensor ranks cannot share the tokens evenly.
  StageOutput forward(const StageInput& input) override;
  void update_buffers(const StepGate& gate) override;
  void wants_logits(bool on) override { wants_logits_ = on; }

 private:
  struct LayerContext; // what all layers of one forward pass share
  struct LayerResult {
    at::Tensor x, balance_loss, z_loss;
  };

  [[nodiscard]] const BoundParam& param(std::size_t slot) const { return storage_.parameters[slot]; }
  [[nodiscard]] int tensor_ranks() const { return request_.mesh.size(MeshDim::tensor); }
  [[nodiscard]] std::int64_t vocabulary_first() const; ///< id of the first row of this rank's tables
  [[nodiscard]] std::vector<std::int64_t> activation_shape(std::int64_t rows, std::int64_t length) const;
  LayerResult run_layer(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x, bool again);
  at::Tensor run_attention(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x) const;
  /// Products over all rows [T, ...] of the columns of this rank -> those of its heads: queries, keys, values.
  [[nodiscard]] at::Tensor own_heads(const at::Tensor& qkv) const;
  at::Tensor run_swiglu(const at::Tensor& h, std::size_t gate_up, std::size_t down, const at::Tensor& addend) const;
  LayerResult run_experts(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x, bool again);
  void run_head(const StageInput& input, const at::Tensor& x, StageOutput& output) const;

  Config config_;
  StageRequest request_;
  Layout layout_;
  Group *tensor_ = nullptr, *expert_ = nullptr; ///< null where the mesh has one rank in that dimension
  StageStorage storage_;
  ops::RotaryTable rotary_;
  bool wants_logits_ = false;
};

} // namespace conclave::moe_transformer
