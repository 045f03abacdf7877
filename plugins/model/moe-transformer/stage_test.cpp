// The stage as a whole: what must not change a bit (recompute, pipeline cuts), what must not matter (padding, other segments,
// where gradients go), and derivatives by finite differences.

#include <array>

#include "conclave/model.hpp"
#include "model.hpp"
#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

using Gradients = std::map<std::string, at::Tensor>;

/// Loads of a previous step that no expert shares with another.
void set_previous_loads(BoundStage& bound) {
  for (auto& [name, buffer] : bound.buffers)
    if (name.ends_with(".previous_expert_load")) buffer.copy_(at::arange(buffer.numel()).square());
}

/// Forward, backward, and the gradients.
Gradients run(BoundStage& bound, const Batch& batch) {
  total_loss(bound.stage.forward(input_of(batch)), batch).backward();
  return bound.gradients();
}

TEST(Stage, SinksReceiveWhatAutogradReturns) {
  const Batch batch = make_batch(2, 9);
  BoundStage plain(rich_config(), request_of(31, at::kDouble), false),
      fused(rich_config(), request_of(31, at::kDouble), true);
  const Gradients expected = run(plain, batch), found = run(fused, batch);
  for (const auto& [name, gradient] : expected) EXPECT_LT(relative_difference(found.at(name), gradient), 1e-12) << name;
  for (std::size_t i = 0; i < fused.sinks.size(); ++i) {
    EXPECT_EQ(fused.sinks[i]->received(), fused.sinks[i]->expected) << fused.description.parameters[i].name;
  }
}

TEST(Stage, TiedEmbeddingContributesTwice) {
  Config config = tiny_config();
  config.tie_embeddings = true;
  const Batch batch = make_batch(2, 9);
  BoundStage plain(config, request_of(31, at::kDouble), false), fused(config, request_of(31, at::kDouble), true);
  EXPECT_FALSE(fused.parameters.contains("lm_head.weight"));
  const Gradients expected = run(plain, batch), found = run(fused, batch);
  for (const auto& [name, gradient] : expected) EXPECT_LT(relative_difference(found.at(name), gradient), 1e-12) << name;
  for (std::size_t i = 0; i < fused.sinks.size(); ++i) EXPECT_EQ(fused.sinks[i]->received(), fused.sinks[i]->expected);
}

class BalanceScopes : public ::testing::TestWithParam<ops::BalanceScope> {
 protected:
  /// A balance loss that outweighs the others, so that a mistake of it shows.
  static Config config() {
    Config c = rich_config();
    c.router.balance_loss = 3;
    c.router.balance_scope = GetParam();
    return c;
  }
};

std::string name_of(const ::testing::TestParamInfo<ops::BalanceScope>& scope) {
  static constexpr std::array names = {"sequence", "batch_lagged", "micro_batch"};
  return names.at(static_cast<std::size_t>(scope.param));
}

INSTANTIATE_TEST_SUITE_P(Stage, BalanceScopes,
                         ::testing::Values(ops::BalanceScope::sequence, ops::BalanceScope::batch_lagged,
                                           ops::BalanceScope::micro_batch),
                         name_of);

TEST_P(BalanceScopes, GradientsEqualFiniteDifferences) {
  Batch batch = make_batch(2, 9);
  batch.segment_ids = at::arange(18, at::kInt).view({2, 9}).floor_divide(4).to(at::kInt).contiguous();
  BoundStage bound(config(), request_of(31, at::kDouble), true);
  set_previous_loads(bound);
  const Gradients gradients = run(bound, batch);
  const at::NoGradGuard no_grad;
  const auto loss = [&] { return total_loss(bound.stage.forward(input_of(batch)), batch).item<double>(); };
  for (auto& [name, param] : bound.parameters) {
    // Along the gradient itself and along a random direction. A step flips no routing choice of this batch.
    for (const bool random : {false, true}) {
      at::Tensor direction = gradients.at(name).clone();
      if (random) {
        ParamSpec spec;
        spec.shape = direction.sizes().vec();
        const std::vector<std::int64_t> zeros(spec.shape.size(), 0);
        spec.pieces = {{name, spec.shape, {zeros, spec.shape}, {zeros, spec.shape}}};
        ASSERT_TRUE(fill_parameter(spec, 3, direction).ok());
      }
      const double norm = direction.norm().item<double>();
      if (norm == 0) continue;
      direction = direction / norm;
      const double expected = (direction * gradients.at(name)).sum().item<double>(), h = 1e-5;
      const at::Tensor before = param.value.clone();
      param.value.copy_(before + direction * h);
      const double up = loss();
      param.value.copy_(before - direction * h);
      const double down = loss();
      param.value.copy_(before);
      EXPECT_NEAR((up - down) / (2 * h), expected, 1e-6 * std::max(1.0, std::abs(expected)))
          << name << (random ? " (random)" : "");
    }
  }
}

TEST_P(BalanceScopes, RecomputeChangesNoBit) {
  const Batch batch = make_batch(2, 40);
  StageRequest with = request_of();
  with.recompute = Recompute::layer;
  BoundStage plain(config(), request_of(), true), again(config(), with, true);
  for (BoundStage* bound : {&plain, &again}) set_previous_loads(*bound);
  const Gradients expected = run(plain, batch), found = run(again, batch);
  for (const auto& [name, gradient] : expected) EXPECT_TRUE(found.at(name).equal(gradient)) << name;
  for (const auto& [name, buffer] : plain.buffers)
    EXPECT_TRUE(again.buffers.at(name).equal(buffer)) << name << " counted twice?";
}

TEST(Stage, TwoChunksEqualOneBitForBit) {
  for (const bool recompute : {false, true}) {
    const Batch batch = make_batch(2, 40);
    StageRequest request = request_of();
    if (recompute) request.recompute = Recompute::layer;
    BoundStage whole(rich_config(), request, true);
    const Gradients expected = run(whole, batch);
    request.chunks = 2;
    BoundStage first(rich_config(), request, true);
    request.chunk = 1;
    BoundStage second(rich_config(), request, true);

    const StageOutput sent = first.stage.forward(input_of(batch));
    const at::Tensor received = sent.activations.detach().requires_grad_();
    total_loss(second.stage.forward(input_of(batch, received)), batch).backward();
    std::vector<at::Tensor> roots{sent.activations}, seeds{received.grad()};
    if (const at::Tensor own = total_loss(sent, batch); own.defined()) { // layer 0 is dense: none here
      roots.push_back(own);
      seeds.push_back(at::ones({}));
    }
    torch::autograd::backward(roots, seeds);
    Gradients found = first.gradients();
    found.merge(second.gradients());
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, gradient] : expected) EXPECT_TRUE(found.at(name).equal(gradient)) << name;
  }
}

TEST_P(BalanceScopes, PaddingChangesNothing) {
  const std::int64_t length = 11, padded = 16;
  const Batch batch = make_batch(2, length);
  Batch wide = make_batch(2, padded);
  const auto widen = [&](at::Tensor& to, const at::Tensor& from, const at::Scalar& fill) {
    to.fill_(fill);
    to.narrow(1, 0, length).copy_(from);
  };
  widen(wide.tokens, batch.tokens, 0);
  widen(wide.labels, batch.labels, 0);
  widen(wide.loss_mask, batch.loss_mask, false);
  wide.token_mask = at::ones({2, padded}, at::kBool);
  wide.token_mask.narrow(1, length, padded - length).fill_(false);
  wide.global_loss_tokens = batch.global_loss_tokens;
  BoundStage a(config(), request_of(31, at::kDouble), true), b(config(), request_of(31, at::kDouble), true);
  for (BoundStage* bound : {&a, &b}) set_previous_loads(*bound);
  const StageOutput narrow_out = a.stage.forward(input_of(batch)), wide_out = b.stage.forward(input_of(wide));
  for (std::size_t i = 0; i < narrow_out.local_losses.size(); ++i) {
    EXPECT_NEAR(wide_out.local_losses[i].sum.item<double>(), narrow_out.local_losses[i].sum.item<double>(), 1e-10)
        << narrow_out.local_losses[i].name;
  }
  EXPECT_EQ(wide_out.token_nll.narrow(1, length, padded - length).abs().max().item<double>(), 0);
  total_loss(narrow_out, batch).backward();
  total_loss(wide_out, wide).backward();
  const Gradients expected = a.gradients(), found = b.gradients();
  for (const auto& [name, gradient] : expected) EXPECT_LT(relative_difference(found.at(name), gradient), 1e-10) << name;
  for (const auto& [name, buffer] : a.buffers) EXPECT_TRUE(b.buffers.at(name).equal(buffer)) << name;
}

TEST(Stage, PackedSegmentsEqualSeparateSequences) {
  const Batch one = make_batch(1, 6), batch = make_batch(1, 12);
  Batch packed = batch;
  packed.tokens.narrow(1, 6, 6).copy_(one.tokens);
  packed.position_ids = at::arange(12, at::kLong).remainder(6).view({1, 12}).contiguous();
  packed.segment_ids = at::arange(12, at::kInt).floor_divide(6).to(at::kInt).view({1, 12}).contiguous();
  BoundStage bound(rich_config(), request_of(31, at::kDouble), false);
  bound.stage.wants_logits(true);
  const at::NoGradGuard no_grad;
  const at::Tensor alone = bound.stage.forward(input_of(one)).logits,
                   together = bound.stage.forward(input_of(packed)).logits;
  EXPECT_LT((together.narrow(1, 6, 6) - alone).abs().max().item<double>(), 1e-11);
}

TEST(Stage, WindowLimitsWhatLocalLayersSee) {
  Config config = tiny_config();
  config.layers = 1;
  config.hierarchy.local_layers = 1;
  config.hierarchy.window = 4;
  BoundStage bound(config, request_of(), false);
  bound.stage.wants_logits(true);
  const at::NoGradGuard no_grad;
  Batch batch = make_batch(1, 20);
  const at::Tensor before = bound.stage.forward(input_of(batch)).logits;
  batch.tokens[0][7] = (batch.tokens[0][7] + 1).remainder(31);
  const at::Tensor after = bound.stage.forward(input_of(batch)).logits;
  const auto changed = [&](std::int64_t i) { return !after[0][i].equal(before[0][i]); };
  EXPECT_FALSE(changed(6));
  EXPECT_TRUE(changed(7));
  EXPECT_TRUE(changed(10));
  EXPECT_FALSE(changed(11)); // 11 - 7 = 4 tokens away, outside a window of 4 that includes itself
}

TEST(Stage, CountsExpertsAndMovesTheBiasTowardsTheMean) {
  const Config config = rich_config();
  BoundStage bound(config, request_of(), false);
  const Batch batch = make_batch(2, 30);
  StageInput input = input_of(batch);
  {
    const at::NoGradGuard no_grad;
    input.training = false;
    (void)bound.stage.forward(input);
    EXPECT_EQ(bound.buffers.at("model.layers.1.mlp.gate.expert_load").sum().item<std::int64_t>(), 0)
        << "evaluation counts nothing";
    input.training = true;
    (void)bound.stage.forward(input);
  }
  const at::Tensor counts = bound.buffers.at("model.layers.1.mlp.gate.expert_load");
  EXPECT_EQ(counts.sum().item<std::int64_t>(), 2 * 30 * config.top_k);
  EXPECT_FALSE(bound.buffers.contains("model.layers.0.mlp.gate.expert_load")) << "layer 0 is dense";
  const at::Tensor& bias = bound.buffers.at("model.layers.1.mlp.gate.e_score_correction_bias");
  StepGate gate;
  gate.apply = at::zeros({});
  bound.stage.update_buffers(gate);
  EXPECT_EQ(bias.abs().sum().item<float>(), 0) << "a skipped step moves nothing";
  gate.apply = at::ones({});
  bound.stage.update_buffers(gate);
  for (std::int64_t e = 0; e < config.experts; ++e) {
    const std::int64_t n = counts[e].item<std::int64_t>(), mean = 2 * 30 * config.top_k / config.experts;
    EXPECT_FLOAT_EQ(bias[e].item<float>(), n < mean ? 0.01f : (n > mean ? -0.01f : 0.0f));
  }
}

/// The load_balance loss of a batch, as the host reports it.
double balance_of(BoundStage& bound, const Batch& batch) {
  const at::NoGradGuard no_grad;
  const StageOutput output = bound.stage.forward(input_of(batch));
  for (const LocalLoss& loss : output.local_losses)
    if (loss.name == "load_balance")
      return loss.sum.item<double>() / static_cast<double>(loss.normaliser == Normaliser::loss_tokens
                                                               ? batch.global_loss_tokens
                                                               : batch.global_sequences);
  return 0;
}

TEST(LaggedBalance, RemembersTheLoadOfTheLastAppliedStep) {
  Config config = rich_config();
  config.router.balance_scope = ops::BalanceScope::batch_lagged;
  BoundStage bound(config, request_of(31, at::kDouble), false);
  Batch batch = make_batch(2, 30);
  batch.global_loss_tokens = 60;
  const at::Tensor& previous = bound.buffers.at("model.layers.1.mlp.gate.previous_expert_load");
  const at::Tensor& counts = bound.buffers.at("model.layers.1.mlp.gate.expert_load");
  EXPECT_NEAR(balance_of(bound, batch), 2, 1e-12) << "equal shares before the first step, in two layers";
  ASSERT_GT(counts.max().item<std::int64_t>(), counts.min().item<std::int64_t>());
  StepGate gate;
  gate.apply = at::zeros({});
  bound.stage.update_buffers(gate);
  EXPECT_EQ(previous.sum().item<std::int64_t>(), 0) << "a skipped step leaves no load";
  gate.apply = at::ones({});
  bound.stage.update_buffers(gate);
  EXPECT_TRUE(previous.equal(counts));
  EXPECT_GT(std::abs(balance_of(bound, batch) - 2), 1e-3);
}

// What a checkpoint of another scope lacks is not asked for.
TEST(LaggedBalance, IsTheOnlyScopeWithABufferOfItsOwn) {
  Config config = rich_config();
  const auto buffers = [&config] {
    std::vector<std::string> names;
    for (const BufferSpec& spec : MoeStage(config, request_of()).describe().buffers)
      if (spec.layer == 1 && spec.use == BufferUse::state) names.push_back(spec.name);
    return names;
  };
  const std::vector<std::string> bias{"model.layers.1.mlp.gate.e_score_correction_bias"};
  EXPECT_EQ(buffers(), bias);
  config.router.balance_scope = ops::BalanceScope::micro_batch;
  EXPECT_EQ(buffers(), bias);
  config.router.balance_scope = ops::BalanceScope::batch_lagged;
  EXPECT_EQ(buffers().size(), 2U);
  config.router.balance_loss = 0;
  EXPECT_EQ(buffers(), bias);
}

TEST(Stage, LowPrecisionFollowsFp32) {
  const Batch batch = make_batch(2, 16);
  Config config = tiny_config();
  BoundStage reference(config, request_of(), true);
  const double expected = total_loss(reference.stage.forward(input_of(batch)), batch).item<double>();
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    BoundStage bound(config, request_of(31, type), true);
    const at::Tensor loss = total_loss(bound.stage.forward(input_of(batch)), batch);
    EXPECT_NEAR(loss.item<double>(), expected, 0.1 * expected);
    loss.backward();
    for (const auto& [name, gradient] : bound.gradients()) {
      EXPECT_EQ(gradient.scalar_type(), at::kFloat);
      EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << name;
    }
  }
}

TEST(Stage, BindRefusesStorageOfAnotherShape) {
  MoeStage stage(tiny_config(), request_of());
  EXPECT_FALSE(stage.bind({}).ok());
}

} // namespace
} // namespace conclave::moe_transformer
