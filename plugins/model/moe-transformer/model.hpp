// MoeTransformer: the plugin. Checks shapes, counts parameters, makes stages and the Hugging Face form.
#pragma once

#include "conclave/model.hpp"
#include "options.hpp"

namespace conclave::moe_transformer {

class MoeTransformer final : public Model {
 public:
  MoeTransformer(HostContext& host, const Config& config) : config_(config) { (void)host; }

  Result<ModelSummary> summarize(const ModelShape& shape, const Mesh& mesh) const override;
  Result<std::unique_ptr<Stage>> make_stage(const StageRequest& request) const override;
  Result<HuggingFaceForm> hugging_face(const ModelShape& shape, const SpecialTokens& special) const override;

 private:
  Config config_;
};

/// The Hugging Face form of a config: Mixtral's or Qwen3-MoE's, or why it has none.
Result<HuggingFaceForm> hugging_face_form(const Config& config, const ModelShape& shape, const SpecialTokens& special);

} // namespace conclave::moe_transformer
