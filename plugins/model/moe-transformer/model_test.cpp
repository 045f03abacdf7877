// Arithmetic of the model: options, refusals, counts, descriptions, and the Hugging Face form's refusals.

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include <set>

#include "conclave/testkit.hpp"
#include "layout.hpp"
#include "model.hpp"
#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

Diagnostics bind(std::vector<Value::Member> members, Config& config) {
  Diagnostics diagnostics;
  std::vector<ChildRequest> children;
  option_table().bind(Value::map(std::move(members)), "model.with", {}, &config, diagnostics, children);
  return diagnostics;
}

TEST(Options, ArithmeticIsShown) {
  Config config;
  const Diagnostics d = bind({{"width", {}, Value::scalar("100")}, {"heads", {}, Value::scalar("6")}}, config);
  ASSERT_TRUE(d.has_errors());
  EXPECT_NE(d.render().find("100 / 6 is not whole"), std::string::npos) << d.render();
}

TEST(Options, GroupsBind) {
  Config config;
  const Value router =
      Value::map({{"scores", {}, Value::scalar("sigmoid")}, {"bias_update_rate", {}, Value::scalar("0.001")}});
  const Value hierarchy = Value::map({{"local_layers", {}, Value::scalar("3")}, {"window", {}, Value::scalar("1k")}});
  const Diagnostics d = bind({{"router", {}, router}, {"hierarchy", {}, hierarchy}}, config);
  EXPECT_FALSE(d.has_errors()) << d.render();
  EXPECT_EQ(config.router.scores, ops::RouterScores::sigmoid);
  EXPECT_EQ(config.router.balance_scope, ops::BalanceScope::sequence);
  EXPECT_EQ(config.window_of(2), 1000);
  EXPECT_EQ(config.window_of(3), 0);
}

TEST(Options, CrossErrors) {
  Config config;
  EXPECT_TRUE(bind({{"top_k", {}, Value::scalar("17")}}, config).has_errors());
  EXPECT_TRUE(bind({{"kv_heads", {}, Value::scalar("5")}}, config).has_errors());
  EXPECT_TRUE(bind({{"dense_layers", {}, Value::scalar("1")}}, config).has_errors());
  const Value layers = Value::list({Value::scalar("20"), Value::scalar("5")});
  const Diagnostics d = bind({{"pipeline_layers", {}, layers}}, config);
  EXPECT_NE(d.render().find("the chunks have 25 layers and the model 24"), std::string::npos) << d.render();
  EXPECT_TRUE(bind({{"hierarchy", {}, Value::map({{"local_layers", {}, Value::scalar("1")}})}}, config).has_errors());
}

TEST(Summary, CountsByHand) {
  testkit::FakeHost host;
  Config c; // 24 layers, width 2048, 16 heads of 128, 16 experts top-2 of 1408
  c.kv_heads = 4;
  const MoeTransformer model(host, c);
  const auto summary = model.summarize({32000, 4096}, {});
  ASSERT_TRUE(summary.ok());
  const std::int64_t attention = 2048 * (2048 + 512 + 512) + 2048 * 2048, expert = 3 * 2048 * 1408, router = 16 * 2048;
  const std::int64_t norms = 2 * 2048, ends = 2 * 32000 * 2048 + 2048;
  EXPECT_EQ(summary->parameters, 24 * (attention + 16 * expert + router + norms) + ends);
  EXPECT_EQ(summary->active_parameters, 24 * (attention + 2 * expert + router + norms) + ends);
  const double products = static_cast<double>(24 * (attention + 2 * expert + router) + 32000 * 2048);
  EXPECT_DOUBLE_EQ(summary->forward_flops_per_token, 2 * (products + 24 * 2.0 * 2048 * 4097 / 2));
}

TEST(Summary, RefusesWhatDoesNotFitTheMesh) {
  testkit::FakeHost host;
  const MoeTransformer model(host, tiny_config()); // 3 layers, 4 heads, 4 experts
  //                        pipeline data context tensor expert_data expert
  const auto mesh = [](int p, int t, int e) { return Mesh({p, 6, 1, t, 6 * t / e, e}, {}); };
  EXPECT_TRUE(model.summarize({31, 64}, mesh(3, 2, 2)).ok());
  const auto pipeline = model.summarize({31, 64}, mesh(4, 1, 1));
  ASSERT_FALSE(pipeline.ok());
  EXPECT_NE(pipeline.error().what.find("4 pipeline chunks for 3 layers"), std::string::npos);
  const auto tensor = model.summarize({31, 64}, mesh(1, 3, 1));
  ASSERT_FALSE(tensor.ok());
  EXPECT_NE(tensor.error().what.find("heads 4 / tensor 3"), std::string::npos);
  const auto expert = model.summarize({31, 64}, mesh(1, 1, 3));
  ASSERT_FALSE(expert.ok());
  EXPECT_NE(expert.error().what.find("experts 4 / expert 3"), std::string::npos);
  StageRequest request = request_of();
  request.mesh = Mesh({1, 1, 2, 1, 1, 1}, {});
  const auto stage = model.make_stage(request);
  ASSERT_FALSE(stage.ok());
  EXPECT_EQ(stage.error().code, Code::unsupported);
}

TEST(Summary, ShowsTheArithmeticOfATensorSplit) {
  testkit::FakeHost host;
  const auto refusal = [&](const Config& config, ModelShape shape, int tensor) {
    const auto summary = MoeTransformer(host, config).summarize(shape, Mesh({1, 1, 1, tensor, tensor, 1}, {}));
    return summary.ok() ? "" : summary.error().what;
  };
  Config config = rich_config(); // 4 heads, 2 key heads of 8, dense width 14, a shared expert of 10
  EXPECT_EQ(refusal(config, {31, 64}, 2), "");
  EXPECT_EQ(refusal(config, {31, 63}, 2), "data.length.max 63 / tensor 2 is not whole");
  EXPECT_EQ(refusal(config, {31, 64}, 4), "dense_width 14 / tensor 4 is not whole");
  config.dense_width = 16;
  EXPECT_EQ(refusal(config, {31, 64}, 4), "shared expert width 10 / tensor 4 is not whole");
  config.shared_experts = 2;
  EXPECT_EQ(refusal(config, {31, 64}, 4), "");
  EXPECT_EQ(refusal(config, {5, 64}, 4),
            "a vocabulary of 5 in parts of 2 leaves nothing for the last of tensor 4 ranks");
  config.head_width = 6; // 2 key heads over 4 ranks: slices of 3
  EXPECT_EQ(refusal(config, {31, 64}, 4), "");
  config.kv_heads = 1;
  EXPECT_EQ(refusal(config, {31, 64}, 4), "kv_heads 1 x head width 6 / tensor 4 is not whole");
  config.heads = 6;
  config.kv_heads = 3;
  EXPECT_EQ(refusal(config, {31, 64}, 2), "kv_heads 3 / tensor 2 is not whole");
}

TEST(Summary, CountsTheWholeModelWhateverTheMesh) {
  testkit::FakeHost host;
  const MoeTransformer model(host, tiny_config());
  const auto one = model.summarize({31, 64}, {}), many = model.summarize({31, 64}, Mesh({3, 2, 1, 2, 1, 4}, {}));
  ASSERT_TRUE(one.ok() && many.ok());
  EXPECT_EQ(many->parameters, one->parameters);
  EXPECT_EQ(many->active_parameters, one->active_parameters);
  EXPECT_EQ(many->forward_flops_per_token, one->forward_flops_per_token);
}

TEST(PipelineLayers, SayWhichChunkHasWhat) {
  testkit::FakeHost host;
  Config config = tiny_config();
  config.layers = 6;
  config.pipeline_layers = {1, 3, 2};
  EXPECT_EQ(chunk_layers(config, 0, 3), std::pair(std::int64_t{0}, std::int64_t{1}));
  EXPECT_EQ(chunk_layers(config, 1, 3), std::pair(std::int64_t{1}, std::int64_t{4}));
  EXPECT_EQ(chunk_layers(config, 2, 3), std::pair(std::int64_t{4}, std::int64_t{6}));
  EXPECT_EQ(chunk_layers(config, 0, 1), std::pair(std::int64_t{0}, std::int64_t{6})) << "one chunk has all";

  const MoeTransformer model(host, config);
  const auto pipeline = [](int ranks) { return Mesh({ranks, 1, 1, 1, 1, 1}, {}); };
  EXPECT_TRUE(model.summarize({31, 64}, pipeline(1)).ok());
  EXPECT_TRUE(model.summarize({31, 64}, pipeline(3)).ok());
  const auto two = model.summarize({31, 64}, pipeline(2));
  ASSERT_FALSE(two.ok());
  EXPECT_EQ(two.error().what, "entries of pipeline_layers 3 / pipeline 2 is not whole");
  StageRequest request = request_of();
  request.mesh = pipeline(3);
  request.chunks = 3;
  EXPECT_TRUE(model.make_stage(request).ok());
  request.chunks = 6; // two virtual stages a rank
  const auto stage = model.make_stage(request);
  ASSERT_FALSE(stage.ok());
  EXPECT_EQ(stage.error().what, "pipeline_layers says 3 chunks, the run has 6");
}

TEST(Layout, NamesAndPiecesCoverEveryElementOnce) {
  for (const Config& config : {tiny_config(), rich_config()}) {
    std::set<std::string> names;
    for (const ParamSpec& spec : make_layout(config, 31).description.parameters) {
      std::int64_t size = 1, covered = 0;
      for (const std::int64_t n : spec.shape) size *= n;
      for (const ParamPiece& piece : spec.pieces) {
        EXPECT_TRUE(names.insert(piece.name).second) << piece.name << " twice";
        std::int64_t elements = 1;
        for (const std::int64_t n : piece.local.size) elements *= n;
        covered += elements;
      }
      EXPECT_EQ(covered, size) << spec.name;
    }
    EXPECT_TRUE(names.contains("model.layers.2.mlp.experts.3.gate_proj.weight"));
    EXPECT_TRUE(names.contains("model.layers.1.self_attn.k_proj.weight"));
    EXPECT_EQ(names.contains("model.layers.0.self_attn.q_norm.weight"), config.qk_norm);
    EXPECT_EQ(names.contains("model.layers.0.mlp.gate_proj.weight"), config.dense_layers > 0);
  }
}

TEST(Layout, ChunksHoldEveryParameterOnceAndTiesAreCopies) {
  Config config = rich_config();
  config.layers = 5;
  config.tie_embeddings = true;
  std::multiset<std::string> cut, whole;
  for (const ParamSpec& spec : make_layout(config, 31).description.parameters) whole.insert(spec.name);
  for (int chunk = 0; chunk < 3; ++chunk) {
    const auto [first, last] = chunk_layers(config, chunk, 3);
    EXPECT_GE(last - first, 1);
    for (const ParamSpec& spec : make_layout(config, 31, {}, chunk, 3).description.parameters) {
      if (spec.tied_with.empty()) {
        cut.insert(spec.name);
        continue;
      }
      EXPECT_EQ(spec.tied_with, "model.embed_tokens.weight");
      EXPECT_FALSE(spec.norm_owner);
    }
  }
  EXPECT_EQ(cut, whole);
}

TEST(HuggingFace, NamesBothForms) {
  testkit::FakeHost host;
  Config c = tiny_config();
  const auto mixtral = MoeTransformer(host, c).hugging_face({31, 64}, {1, 2, -1, 0});
  ASSERT_TRUE(mixtral.ok());
  EXPECT_EQ(mixtral->rename("model.layers.1.mlp.experts.3.up_proj.weight"),
            "model.layers.1.block_sparse_moe.experts.3.w3.weight");
  EXPECT_EQ(mixtral->rename("model.layers.1.mlp.gate.weight"), "model.layers.1.block_sparse_moe.gate.weight");
  EXPECT_EQ(mixtral->rename("model.layers.1.self_attn.q_proj.weight"), "model.layers.1.self_attn.q_proj.weight");
  const auto json = nlohmann::json::parse(mixtral->config_json);
  EXPECT_EQ(json["model_type"], "mixtral");
  EXPECT_TRUE(json["pad_token_id"].is_null());
  c.qk_norm = true;
  const auto qwen = MoeTransformer(host, c).hugging_face({31, 64}, {});
  ASSERT_TRUE(qwen.ok());
  EXPECT_EQ(nlohmann::json::parse(qwen->config_json)["model_type"], "qwen3_moe");
  for (const auto* form : {&mixtral, &qwen})
    EXPECT_EQ((*form)->rename("model.layers.1.mlp.gate.previous_expert_load"), "") << "left out of the files";
}

TEST(HuggingFace, RefusesWhatItCannotSay) {
  testkit::FakeHost host;
  const auto form = MoeTransformer(host, rich_config()).hugging_face({31, 64}, {});
  ASSERT_FALSE(form.ok());
  EXPECT_NE(form.error().what.find("hierarchy.head_gates"), std::string::npos) << form.error().what;
  EXPECT_NE(form.error().what.find("shared_experts"), std::string::npos);
}

} // namespace
} // namespace conclave::moe_transformer
