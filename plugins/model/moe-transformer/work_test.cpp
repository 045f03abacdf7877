// stage_work() against the model's own count of operations, and by hand.

#include "work.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "conclave/testkit.hpp"
#include "model.hpp"
#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

using Kind = OperatorWork::Kind;

double flops_of(const PassWork& pass) {
  double sum = 0;
  for (const OperatorWork& op : pass.operators) sum += op.times * op.flops;
  return sum;
}

StageRequest whole_request(std::int64_t length) {
  StageRequest request = request_of(32, at::kBFloat16);
  request.shape.max_length = length;
  return request;
}

StageRequest split_request(std::int64_t length, int tensor, int expert, int chunk, int chunks) {
  StageRequest request = whole_request(length);
  request.mesh = Mesh({1, expert, 1, tensor, tensor, expert}, {}); // data ranks as many as experts are split over
  request.chunk = chunk;
  request.chunks = chunks;
  return request;
}

/// Operations of the head's two gradients, which the forward pass computes.
double early_gradients(const Config& c, std::int64_t tokens) {
  return 2.0 * 2.0 * static_cast<double>(tokens * 32 * c.width);
}

TEST(StageWork, ForwardOperationsAreTheSummarys) {
  for (const Config& c : {tiny_config(), rich_config()}) {
    const std::int64_t rows = 3, length = 16;
    testkit::FakeHost host;
    const auto summary = MoeTransformer(host, c).summarize({32, length}, {});
    ASSERT_TRUE(summary.ok());
    const StageWork work = stage_work(c, whole_request(length), rows, length);
    EXPECT_NEAR(flops_of(work.forward) - early_gradients(c, rows * length),
                summary->forward_flops_per_token * static_cast<double>(rows * length), 1);
  }
}

TEST(StageWork, BackwardHasTwoProductsForEachAndMoreForAttention) {
  const Config c = rich_config();
  const StageWork work = stage_work(c, whole_request(16), 3, 16);
  double products = 0, attention = 0;
  const double head = early_gradients(c, 48) * 1.5; // three products
  for (const OperatorWork& op : work.forward.operators)
    (op.kind == Kind::attention ? attention : products) += op.times * op.flops;
  EXPECT_NEAR(flops_of(work.backward), 2 * (products - head) + 2.5 * attention, 1);
}

TEST(StageWork, RecomputeRepeatsTheLayersButNotEmbeddingAndHead) {
  const Config c = rich_config();
  StageRequest request = whole_request(16);
  const StageWork kept = stage_work(c, request, 3, 16);
  request.recompute = Recompute::layer;
  const StageWork again = stage_work(c, request, 3, 16);
  EXPECT_EQ(flops_of(again.forward), flops_of(kept.forward));
  EXPECT_NEAR(flops_of(again.backward) - flops_of(kept.backward), flops_of(kept.forward) - 1.5 * early_gradients(c, 48),
              1);
}

TEST(StageWork, RanksShareTheOperations) {
  Config c = rich_config();
  c.dense_width = 12;
  c.kv_heads = 1; // fewer than tensor ranks: slices
  const StageWork whole = stage_work(c, whole_request(16), 4, 16);
  double forward = 0, backward = 0;
  for (int chunk = 0; chunk < 3; ++chunk) {
    const StageWork part = stage_work(c, split_request(16, 2, 2, chunk, 3), 4, 16);
    forward += 2 * flops_of(part.forward);
    backward += 2 * flops_of(part.backward);
  }
  EXPECT_NEAR(forward, flops_of(whole.forward), 1e-6 * forward);
  EXPECT_NEAR(backward, flops_of(whole.backward), 1e-6 * backward);
}

TEST(StageWork, ExchangesByHand) {
  const Config c = tiny_config(); // 3 layers of experts, width 24, top 2
  const StageWork work = stage_work(c, split_request(16, 2, 2, 0, 3), 4, 16);
  constexpr double all = 64 * 24 * 2, rows = 32 * 2 * 24 * 2, logits = 64 * 4 * 4; // bytes in bf16, in fp32
  const auto bytes = [](const PassWork& pass, Collective kind, MeshDim over) {
    double sum = 0;
    for (const ExchangeWork& op : pass.exchanges)
      if (op.kind == kind && op.over == over) sum += op.times * op.bytes;
    return sum;
  };
  // The embedding's rows, attention in and out, and the router's logits.
  EXPECT_EQ(bytes(work.forward, Collective::reduce_scatter, MeshDim::tensor), 2 * all);
  EXPECT_EQ(bytes(work.forward, Collective::all_gather, MeshDim::tensor), all + logits);
  EXPECT_EQ(bytes(work.forward, Collective::all_to_all, MeshDim::expert), 2 * rows);
  EXPECT_EQ(bytes(work.backward, Collective::reduce_scatter, MeshDim::tensor), all);
  EXPECT_EQ(bytes(work.backward, Collective::all_gather, MeshDim::tensor), 2 * all);
  EXPECT_EQ(bytes(work.backward, Collective::all_to_all, MeshDim::expert), 2 * rows);
  EXPECT_EQ(work.forward.host_waits, 1);
  EXPECT_TRUE(stage_work(c, whole_request(16), 4, 16).forward.exchanges.empty());
}

TEST(StageWork, BytesOfASwigluByHand) {
  Config c = tiny_config();
  c.layers = 1;
  c.dense_layers = 1;
  c.dense_width = 10;
  const StageWork work = stage_work(c, whole_request(16), 1, 16);
  const auto down = [&](const PassWork& pass) {
    double most = 0;
    for (const OperatorWork& op : pass.operators)
      if (op.flops == 2.0 * 16 * 24 * 10) most = std::max(most, op.bytes);
    return most;
  };
  EXPECT_EQ(down(work.forward), (16 * (24 + 10) + 24 * 10) * 2);
  EXPECT_EQ(down(work.backward), 16 * (24 + 10) * 2 + 2 * 24 * 10 * 4); // the sum of the weight's gradient
}

} // namespace
} // namespace conclave::moe_transformer
