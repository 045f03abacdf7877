// activation_bytes() against sums by hand, tensor by tensor.

#include "memory.hpp"

#include <gtest/gtest.h>

#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

Config small_config(std::int64_t layers) {
  Config c;
  c.layers = layers;
  c.width = 8;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_width = 4;
  c.experts = 4;
  c.top_k = 2;
  c.expert_width = 16;
  return c;
}

StageRequest bf16_request() { return request_of(31, at::kBFloat16); }

Mesh split_mesh(int tensor, int expert) {
  std::array<int, mesh_dim_count> size{1, 1, 1, tensor, tensor / expert, expert};
  return Mesh(size, {});
}

// 10 tokens of width 8 in bf16 are 160 bytes.
constexpr std::int64_t attention_kept = (160 + 40) + 160  // input and scales of the norm, input of the product
                                        + 320 + 160 + 80; // q, k, v; output; log-sums of 2 heads
constexpr std::int64_t attention_backward = 160 + 160 + 320 + 320 + 320;
constexpr std::int64_t routing = 160 + 160;                      // logits, choices
constexpr std::int64_t experts_kept = (160 + 40) + 160 + routing // and the router's input
                                      + 3 * 20 * 8               // pairs and tokens of 20 rows, and back
                                      + 320 + 2 * 640 + 80;      // rows, products, weights
constexpr std::int64_t experts_backward = 160 + 320 + 4 * 640;
constexpr std::int64_t head_kept = (160 + 40) + 160 + 31 * 8 * 4 + 40;
constexpr std::int64_t head_forward = 160 + 10 * 31 * (4 + 2);

TEST(ActivationBytes, OneLayerByHand) {
  const ActivationBytes bytes = activation_bytes(small_config(1), bf16_request(), 2, 5);
  EXPECT_EQ(bytes.kept, attention_kept + experts_kept + head_kept);
  EXPECT_EQ(bytes.kept, 5152);
  // The head's forward pass is the worst moment: it runs while everything is kept.
  EXPECT_EQ(bytes.working, head_forward);
}

TEST(ActivationBytes, RecomputeKeepsInputsAndWorksOnOneLayer) {
  StageRequest request = bf16_request();
  request.recompute = Recompute::layer;
  const ActivationBytes bytes = activation_bytes(small_config(3), request, 2, 5);
  EXPECT_EQ(bytes.kept, 3 * 160 + head_kept);
  // In the last layer's backward pass: three inputs, the layer again, its output, and the experts' pass.
  const std::int64_t worst = 3 * 160 + (attention_kept + experts_kept - 160) + 160 + experts_backward;
  EXPECT_EQ(bytes.kept + bytes.working, worst);
}

TEST(ActivationBytes, TensorAndExpertRanksByHand) {
  StageRequest request = bf16_request();
  request.mesh = split_mesh(2, 2);
  request.chunks = 2;
  const ActivationBytes bytes = activation_bytes(small_config(2), request, 2, 5);
  // 5 own tokens are 80 bytes; one head of queries; the one key head is whole on both ranks.
  const std::int64_t attention = (80 + 20) + 160 + 240 + 80 + 40;
  const std::int64_t experts = (80 + 20) + 80 + routing + 5 * 10 * 8 + 160 + 2 * 320 + 40;
  EXPECT_EQ(bytes.kept, attention + experts + 80);
  EXPECT_EQ(bytes.kept + bytes.working, attention + experts + 80 + 160 + 4 * 320);
}

TEST(ActivationBytes, DenseLayersSharedExpertsNormsAndGates) {
  Config plain = small_config(1), rich = plain;
  rich.shared_experts = 1;
  rich.qk_norm = true;
  rich.hierarchy.head_gates = true;
  const auto kept = [](const Config& c) { return activation_bytes(c, bf16_request(), 2, 5).kept; };
  const std::int64_t shared = 160 + 3 * 10 * 16 * 2;
  const std::int64_t norms = 320 + 10 * 3 * 4, gates = 160 + 10 * 2 * (4 + 2);
  EXPECT_EQ(kept(rich), kept(plain) + shared + norms + gates);

  Config dense = plain;
  dense.dense_layers = 1;
  dense.dense_width = 24;
  EXPECT_EQ(kept(dense), attention_kept + (160 + 40) + 160 + 3 * 10 * 24 * 2 + head_kept);
}

TEST(ActivationBytes, TheStageAnswersForItsChunk) {
  StageRequest request = bf16_request();
  request.chunks = 3;
  std::int64_t kept = 0;
  for (request.chunk = 0; request.chunk < 3; ++request.chunk)
    kept += MoeStage(small_config(3), request).activation_bytes(2, 5).kept;
  // Two of the chunks also keep what they hand on.
  EXPECT_EQ(kept, activation_bytes(small_config(3), bf16_request(), 2, 5).kept + 2 * 160);
}

} // namespace
} // namespace conclave::moe_transformer
