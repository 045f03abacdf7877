// Oracle: logits, loss and the gradient of every parameter against Hugging Face transformers, on tiny Mixtral and Qwen3-MoE
// models. The files come from tests/golden/huggingface/make_reference.py.

#include <nlohmann/json.hpp>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros_like.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "model.hpp"
#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

/// A safetensors file: 8 bytes of header length, a JSON header, then the data (F32 and I64 are enough here).
class Reference {
 public:
  explicit Reference(const std::string& file) {
    std::ifstream in(std::string(CONCLAVE_HUGGING_FACE_REFERENCES) + "/" + file, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    bytes_ = all.str();
    std::uint64_t header = 0;
    if (bytes_.size() < sizeof header) throw std::runtime_error("cannot read " + file);
    std::memcpy(&header, bytes_.data(), sizeof header);
    json_ = nlohmann::json::parse(bytes_.substr(8, header));
    data_ = 8 + header;
  }
  [[nodiscard]] at::Tensor tensor(const std::string& name) const {
    const auto& entry = json_.at(name);
    const auto type = entry.at("dtype") == "F32" ? at::kFloat : at::kLong;
    const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
    const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
    return at::from_blob(const_cast<char*>(bytes_.data()) + data_ + begin, shape, at::TensorOptions().dtype(type))
        .clone();
  }
  [[nodiscard]] std::size_t count(const std::string& prefix) const {
    std::size_t n = 0;
    for (const auto& [name, entry] : json_.items()) n += name.starts_with(prefix) ? 1 : 0;
    return n;
  }
  [[nodiscard]] nlohmann::json config() const {
    return nlohmann::json::parse(json_.at("__metadata__").at("config").get<std::string>());
  }

 private:
  std::string bytes_;
  nlohmann::json json_;
  std::size_t data_ = 0;
};

/// The view of a parameter's piece within its local tensor, in the shape of the named parameter.
at::Tensor piece_of(const at::Tensor& local, const ParamPiece& piece) {
  at::Tensor view = local;
  for (std::size_t axis = 0; axis < piece.local.size.size(); ++axis) {
    view = view.narrow(static_cast<std::int64_t>(axis), piece.local.offset[axis], piece.local.size[axis]);
  }
  return view.view(piece.global_shape);
}

struct Case {
  const char* file;
  bool qk_norm;
  std::int64_t dense_layers;
  at::ScalarType type;
};

class HuggingFaceOracle : public ::testing::TestWithParam<Case> {};

TEST_P(HuggingFaceOracle, LogitsLossAndEveryGradient) {
  const Case& test = GetParam();
  const Reference reference(test.file);
  Config config = tiny_config();
  config.layers = 2;
  config.expert_width = 16;
  config.qk_norm = test.qk_norm;
  config.dense_layers = test.dense_layers;
  config.dense_width = 20;
  config.router.balance_loss = config.router.z_loss = 0;
  const auto form = hugging_face_form(config, {67, 64}, {});
  ASSERT_TRUE(form.ok());

  BoundStage bound(config, request_of(67, test.type), true);
  std::size_t pieces = 0;
  {
    const at::NoGradGuard no_grad;
    for (const ParamSpec& spec : bound.description.parameters) {
      at::Tensor value = bound.parameters.at(spec.name).value;
      for (const ParamPiece& piece : spec.pieces) {
        piece_of(value, piece).copy_(reference.tensor("weight/" + form->rename(piece.name)));
        ++pieces;
      }
    }
  }
  EXPECT_EQ(pieces, reference.count("weight/")) << "a parameter of theirs is not ours";

  Batch batch;
  batch.tokens = reference.tensor("input_ids");
  const at::Tensor labels = reference.tensor("labels");
  batch.loss_mask = labels.ne(-100);
  batch.labels = labels.clamp_min(0);
  batch.position_ids = at::arange(13, at::kLong).expand({2, 13}).contiguous();
  batch.global_loss_tokens = batch.loss_mask.sum().item<std::int64_t>();
  batch.global_sequences = 2;
  bound.stage.wants_logits(true);
  StageInput input = input_of(batch);
  input.loss = {};
  const StageOutput output = bound.stage.forward(input);
  const at::Tensor loss = total_loss(output, batch);
  loss.backward();

  EXPECT_LT((output.logits - reference.tensor("logits")).abs().max().item<double>(), 1e-5);
  EXPECT_NEAR(loss.item<double>(), reference.tensor("loss").item<double>(), 1e-5);
  const auto gradients = bound.gradients();
  for (const ParamSpec& spec : bound.description.parameters) {
    for (const ParamPiece& piece : spec.pieces) {
      const at::Tensor theirs = reference.tensor("gradient/" + form->rename(piece.name));
      const double difference = (piece_of(gradients.at(spec.name), piece) - theirs).norm().item<double>();
      EXPECT_LE(difference, 1e-4 * theirs.norm().item<double>() + 1e-8) << piece.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, HuggingFaceOracle,
                         ::testing::Values(Case{"mixtral.safetensors", false, 0, at::kFloat},
                                           Case{"qwen3_moe.safetensors", true, 1, at::kFloat},
                                           Case{"mixtral.safetensors", false, 0, at::kDouble}),
                         [](const auto& test) {
                           return std::string(test.param.qk_norm ? "Qwen3Moe" : "Mixtral") +
                                  (test.param.type == at::kDouble ? "InFp64" : "InFp32");
                         });

// Theirs is the loss of one call, and 2 when balanced, since it counts both choices of a token.
TEST(HuggingFaceLoadBalance, IsOursOfAMicroBatch) {
  const Reference reference("load_balance.safetensors");
  ops::RouterOptions options;
  options.balance_scope = ops::BalanceScope::micro_batch;
  for (const std::string prefix : {"", "unmasked_"}) {
    const at::Tensor logits = reference.tensor("logits").to(at::kDouble).requires_grad_();
    const at::Tensor mask = prefix.empty() ? reference.tensor("attention_mask").to(at::kBool) : at::Tensor{};
    const at::Tensor loss = ops::route(logits, {}, mask, 3, options).balance_loss * (2.0 / 3);
    loss.backward();
    EXPECT_NEAR(loss.item<double>(), reference.tensor(prefix + "loss").item<double>(), 1e-6);
    EXPECT_LT(relative_difference(logits.grad(), reference.tensor(prefix + "gradient")), 1e-5);
  }
}

TEST(HuggingFaceConfig, AgreesWithTheirs) {
  for (const bool qk_norm : {false, true}) {
    Config config = tiny_config();
    config.layers = 2;
    config.expert_width = 16;
    config.qk_norm = qk_norm;
    config.dense_layers = qk_norm ? 1 : 0;
    config.dense_width = qk_norm ? 20 : 0;
    const auto ours = nlohmann::json::parse(hugging_face_form(config, {67, 64}, {})->config_json);
    auto theirs = Reference(qk_norm ? "qwen3_moe.safetensors" : "mixtral.safetensors").config();
    // In memory transformers 5 calls both forms' experts num_local_experts; published Qwen3-MoE files say num_experts.
    if (qk_norm) theirs["num_experts"] = theirs["num_local_experts"], theirs.erase("num_local_experts");
    for (const char* key :
         {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "head_dim", "hidden_act", "num_experts_per_tok", "num_local_experts", "num_experts",
          "moe_intermediate_size", "norm_topk_prob", "mlp_only_layers", "tie_word_embeddings", "rms_norm_eps",
          "max_position_embeddings"}) {
      EXPECT_EQ(ours.contains(key), theirs.contains(key)) << key;
      if (ours.contains(key) && theirs.contains(key)) {
        EXPECT_EQ(ours[key], theirs[key]) << key;
      }
    }
    EXPECT_EQ(ours["rope_parameters"]["rope_theta"], theirs["rope_parameters"]["rope_theta"]);
  }
}

} // namespace
} // namespace conclave::moe_transformer
