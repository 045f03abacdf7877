// MoeStage: one pipeline chunk of the network as autograd sees it. It owns nothing but its rotary table.
#pragma once

#include <vector>

#include "conclave/model.hpp"
#include "conclave/ops/attention.hpp"
#include "conclave/ops/rotary.hpp"
#include "layout.hpp"
#include "options.hpp"

namespace conclave::moe_transformer {

class MoeStage final : public Stage {
 public:
  /// The request fits the config: model.cpp has checked.
  MoeStage(const Config& config, const StageRequest& request);

  [[nodiscard]] StageDescription describe() const override { return layout_.description; }
  Status bind(StageStorage storage) override;
  StageOutput forward(const StageInput& input) override;
  void update_buffers(const StepGate& gate) override;
  void wants_logits(bool on) override { wants_logits_ = on; }

 private:
  struct LayerContext; // what all layers of one forward pass share
  struct LayerResult {
    at::Tensor x, balance_loss, z_loss;
  };

  [[nodiscard]] const BoundParam& param(std::size_t slot) const { return storage_.parameters[slot]; }
  LayerResult run_layer(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x, bool again);
  at::Tensor run_attention(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x) const;
  LayerResult run_experts(const LayerSlots& slots, const LayerContext& context, const at::Tensor& x, bool again);
  void run_head(const StageInput& input, const at::Tensor& x, StageOutput& output) const;

  Config config_;
  StageRequest request_;
  Layout layout_;
  StageStorage storage_;
  ops::RotaryTable rotary_;
  bool wants_logits_ = false;
};

} // namespace conclave::moe_transformer
