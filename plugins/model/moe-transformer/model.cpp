// Arithmetic of the model: what fits which mesh, how many parameters, how many operations.

#include "model.hpp"

#include <algorithm>
#include <string>

#include "layout.hpp"
#include "stage.hpp"

namespace conclave::moe_transformer {
namespace {

Error does_not_split(const std::string& what, std::int64_t n, const std::string& dimension, int parts) {
  return invalid(what + " " + std::to_string(n) + " / " + dimension + " " + std::to_string(parts) + " is not whole",
                 "choose a `parallel." + dimension + "` that divides it", "model/moe-transformer");
}

Status check_fit(const Config& c, const ModelShape& shape, const Mesh& mesh, int chunks) {
  if (shape.vocabulary < 2) {
    return invalid("a vocabulary of " + std::to_string(shape.vocabulary), "use a tokenizer with at least 2 ids",
                   "model/moe-transformer");
  }
  if (shape.max_length < 1)
    return invalid("sequences of length " + std::to_string(shape.max_length), "set data.length.max",
                   "model/moe-transformer");
  if (chunks > c.layers) {
    return invalid(std::to_string(chunks) + " pipeline chunks for " + std::to_string(c.layers) +
                       " layers leave a chunk without a layer",
                   "use at most one chunk a layer", "model/moe-transformer");
  }
  const int tensor = mesh.size(MeshDim::tensor), expert = mesh.size(MeshDim::expert);
  if (c.heads % tensor != 0) return does_not_split("heads", c.heads, "tensor", tensor);
  if (c.key_heads() % tensor != 0 && tensor % c.key_heads() != 0)
    return does_not_split("kv_heads", c.key_heads(), "tensor", tensor);
  if (c.dense_layers > 0 && c.dense_width % tensor != 0)
    return does_not_split("dense_width", c.dense_width, "tensor", tensor);
  if (c.shared_experts > 0 && (c.shared_experts * c.expert_width) % tensor != 0) {
    return does_not_split("shared expert width", c.shared_experts * c.expert_width, "tensor", tensor);
  }
  if (c.dense_layers < c.layers && c.experts % expert != 0)
    return does_not_split("experts", c.experts, "expert", expert);
  return {};
}

/// Keys that a query sees on average in a full sequence.
double average_span(std::int64_t length, std::int64_t window) {
  const double n = static_cast<double>(length);
  const double w = window > 0 ? std::min(static_cast<double>(window), n) : n;
  return (w * (w + 1) / 2 + (n - w) * w) / n;
}

} // namespace

Result<ModelSummary> MoeTransformer::summarize(const ModelShape& shape, const Mesh& mesh) const {
  const Config& c = config_;
  CONCLAVE_RETURN_IF_ERROR(check_fit(c, shape, mesh, mesh.size(MeshDim::pipeline)));
  ModelSummary summary;
  summary.layers = static_cast<int>(c.layers);
  summary.experts = c.dense_layers < c.layers ? static_cast<int>(c.experts) : 0;
  const Layout layout = make_layout(c, shape.vocabulary, 0, 1);
  double products = 0; // weights that each token is multiplied with
  for (const ParamSpec& spec : layout.description.parameters) {
    std::int64_t count = 1;
    for (const std::int64_t size : spec.shape) count *= size;
    summary.parameters += count;
    const std::int64_t active = spec.shape.size() == 3 ? count / c.experts * c.top_k : count;
    summary.active_parameters += active;
    if (spec.shape.size() >= 2) products += static_cast<double>(active);
  }
  // The embedding is a look-up; when tied, its one table is also the output product.
  if (!c.tie_embeddings) products -= static_cast<double>(shape.vocabulary * c.width);
  double attention = 0;
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    attention += 2 * static_cast<double>(c.heads * c.head_size()) * average_span(shape.max_length, c.window_of(layer));
  }
  summary.forward_flops_per_token = 2 * (products + attention);
  return summary;
}

Result<std::unique_ptr<Stage>> MoeTransformer::make_stage(const StageRequest& request) const {
  CONCLAVE_RETURN_IF_ERROR(check_fit(config_, request.shape, request.mesh, request.chunks));
  if (request.chunk < 0 || request.chunk >= request.chunks) {
    return internal_error("chunk " + std::to_string(request.chunk) + " of " + std::to_string(request.chunks),
                          "model/moe-transformer");
  }
  for (const MeshDim dim : {MeshDim::tensor, MeshDim::expert, MeshDim::context}) {
    if (request.mesh.size(dim) > 1) {
      return unsupported(std::string("the model does not split over the ") + to_string(dim) + " dimension yet",
                         std::string("set parallel.") + to_string(dim) + ": 1", "model/moe-transformer");
    }
  }
  return std::unique_ptr<Stage>(std::make_unique<MoeStage>(config_, request));
}

Result<HuggingFaceForm> MoeTransformer::hugging_face(const ModelShape& shape, const SpecialTokens& special) const {
  return hugging_face_form(config_, shape, special);
}

} // namespace conclave::moe_transformer
