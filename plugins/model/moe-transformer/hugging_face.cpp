// The forms that Hugging Face transformers loads: Mixtral without QK norm, Qwen3-MoE with it.

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "model.hpp"

namespace conclave::moe_transformer {
namespace {

using Json = nlohmann::ordered_json;

/// Features that neither form can express, in the words of the options.
std::vector<std::string> obstacles(const Config& c) {
  std::vector<std::string> found;
  if (c.hierarchy.head_gates) found.emplace_back("hierarchy.head_gates");
  if (c.hierarchy.local_layers > 0) found.emplace_back("hierarchy.local_layers");
  if (c.shared_experts > 0) found.emplace_back("shared_experts");
  if (c.router.scores != ops::RouterScores::softmax) found.emplace_back("router.scores: sigmoid");
  if (c.router.scaling != 1) found.emplace_back("router.scaling");
  if (c.router.bias_update_rate > 0) found.emplace_back("router.bias_update_rate");
  if (!c.qk_norm) { // Mixtral's form is the narrower one
    if (!c.router.normalise_top_k) found.emplace_back("router.normalise_top_k: false without qk_norm");
    if (c.dense_layers > 0) found.emplace_back("dense_layers without qk_norm");
  }
  return found;
}

Json common(const Config& c, const ModelShape& shape, const SpecialTokens& special) {
  const auto id = [](std::int32_t token) { return token >= 0 ? Json(token) : Json(nullptr); };
  Json json;
  json["vocab_size"] = shape.vocabulary;
  json["hidden_size"] = c.width;
  json["num_hidden_layers"] = c.layers;
  json["num_attention_heads"] = c.heads;
  json["num_key_value_heads"] = c.key_heads();
  json["head_dim"] = c.head_size();
  json["hidden_act"] = "silu";
  json["max_position_embeddings"] = shape.max_length;
  json["initializer_range"] = c.init_std;
  json["rms_norm_eps"] = c.norm_eps;
  json["rope_theta"] = c.rope_theta; // transformers before 5 reads this one, later ones the next
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", c.rope_theta}};
  json["attention_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["sliding_window"] = nullptr;
  json["num_experts_per_tok"] = c.top_k;
  json["router_aux_loss_coef"] = c.router.balance_loss;
  json["tie_word_embeddings"] = c.tie_embeddings;
  json["bos_token_id"] = id(special.beginning);
  json["eos_token_id"] = id(special.end);
  json["pad_token_id"] = id(special.padding);
  return json;
}

Json mixtral(const Config& c, Json json) {
  json["architectures"] = {"MixtralForCausalLM"};
  json["model_type"] = "mixtral";
  json["intermediate_size"] = c.expert_width;
  json["num_local_experts"] = c.experts;
  return json;
}

Json qwen3_moe(const Config& c, Json json) {
  json["architectures"] = {"Qwen3MoeForCausalLM"};
  json["model_type"] = "qwen3_moe";
  json["intermediate_size"] = c.dense_width > 0 ? c.dense_width : c.expert_width;
  json["moe_intermediate_size"] = c.expert_width;
  json["num_experts"] = c.experts;
  json["norm_topk_prob"] = c.router.normalise_top_k;
  json["decoder_sparse_step"] = 1;
  json["use_sliding_window"] = false;
  json["mlp_only_layers"] = Json::array();
  for (std::int64_t layer = 0; layer < c.dense_layers; ++layer) json["mlp_only_layers"].push_back(layer);
  return json;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

std::string mixtral_name(std::string name) {
  replace(name, ".mlp.", ".block_sparse_moe.");
  replace(name, ".gate_proj.", ".w1.");
  replace(name, ".down_proj.", ".w2.");
  replace(name, ".up_proj.", ".w3.");
  return name;
}

} // namespace

Result<HuggingFaceForm> hugging_face_form(const Config& config, const ModelShape& shape, const SpecialTokens& special) {
  const auto found = obstacles(config);
  if (!found.empty()) {
    std::string list;
    for (const std::string& name : found) list += (list.empty() ? "" : ", ") + name;
    return unsupported("the model has no Hugging Face form because of " + list,
                       "export works for softmax routers without hierarchy, shared experts or selection bias",
                       "model/moe-transformer");
  }
  const Json json = common(config, shape, special);
  // What the balance loss remembers is no part of the network.
  const auto without_load = [](auto&& rename) {
    return [rename](const std::string& name) { return name.ends_with(".previous_expert_load") ? "" : rename(name); };
  };
  if (config.qk_norm) {
    return HuggingFaceForm{qwen3_moe(config, json).dump(2), without_load([](const std::string& name) { return name; })};
  }
  return HuggingFaceForm{mixtral(config, json).dump(2), without_load(mixtral_name)};
}

} // namespace conclave::moe_transformer
