// Arithmetic of the model: what fits which mesh, how many parameters, how many operations.

#include "model.hpp"

#include <algorithm>
#include <iterator>
#include <string>

#include "conclave/parallel/vocabulary.hpp"
#include "layout.hpp"
#include "stage.hpp"
#include "work.hpp"

namespace conclave::moe_transformer {
namespace {

constexpr const char* here = "model/moe-transformer";

Status check_shape(const ModelShape& shape) {
  if (shape.vocabulary < 2)
    return invalid("a vocabulary of " + std::to_string(shape.vocabulary), "use a tokenizer with at least 2 ids", here);
  if (shape.max_length < 1)
    return invalid("sequences of length " + std::to_string(shape.max_length), "set data.length.max", here);
  return {};
}

/// `n` things must go evenly over the ranks of a dimension.
Status check_split(const std::string& what, std::int64_t n, MeshDim dim, int parts) {
  if (n % parts == 0) return {};
  const std::string name = to_string(dim);
  return invalid(what + " " + std::to_string(n) + " / " + name + " " + std::to_string(parts) + " is not whole",
                 "choose a `parallel." + name + "` that divides it", here);
}

/// Key heads go whole to tensor ranks, or evenly sized slices of a head do.
Status check_key_heads(const Config& c, int tensor) {
  if (tensor % c.key_heads() != 0) return check_split("kv_heads", c.key_heads(), MeshDim::tensor, tensor);
  if (c.key_heads() * c.head_size() % tensor == 0) return {};
  return invalid("kv_heads " + std::to_string(c.key_heads()) + " x head width " + std::to_string(c.head_size()) +
                     " / tensor " + std::to_string(tensor) + " is not whole",
                 "choose a `parallel.tensor` that divides it", here);
}

Status check_vocabulary(std::int64_t vocabulary, int tensor) {
  const auto last = parallel::vocabulary_range(vocabulary, tensor, tensor - 1);
  if (last.real > 0) return {};
  return invalid("a vocabulary of " + std::to_string(vocabulary) + " in parts of " + std::to_string(last.local) +
                     " leaves nothing for the last of tensor " + std::to_string(tensor) + " ranks",
                 "lower `parallel.tensor`", here);
}

Status check_tensor(const Config& c, const ModelShape& shape, int tensor) {
  CONCLAVE_RETURN_IF_ERROR(check_split("heads", c.heads, MeshDim::tensor, tensor));
  CONCLAVE_RETURN_IF_ERROR(check_key_heads(c, tensor));
  if (c.dense_layers > 0) CONCLAVE_RETURN_IF_ERROR(check_split("dense_width", c.dense_width, MeshDim::tensor, tensor));
  if (c.shared_experts > 0 && c.dense_layers < c.layers)
    CONCLAVE_RETURN_IF_ERROR(
        check_split("shared expert width", c.shared_experts * c.expert_width, MeshDim::tensor, tensor));
  CONCLAVE_RETURN_IF_ERROR(check_vocabulary(shape.vocabulary, tensor));
  // Each rank has an even share of a micro-batch's tokens. Shorter sequences are checked as they come.
  return check_split("data.length.max", shape.max_length, MeshDim::tensor, tensor);
}

Status check_chunks(const Config& c, int chunks) {
  if (chunks <= c.layers) return {};
  return invalid(std::to_string(chunks) + " pipeline chunks for " + std::to_string(c.layers) +
                     " layers leave a chunk without a layer",
                 "use at most one chunk a layer", here);
}

Status check_fit(const Config& c, const ModelShape& shape, const Mesh& mesh) {
  CONCLAVE_RETURN_IF_ERROR(check_shape(shape));
  const int pipeline = mesh.size(MeshDim::pipeline);
  CONCLAVE_RETURN_IF_ERROR(check_chunks(c, pipeline));
  CONCLAVE_RETURN_IF_ERROR(
      check_split("entries of pipeline_layers", std::ssize(c.pipeline_layers), MeshDim::pipeline, pipeline));
  CONCLAVE_RETURN_IF_ERROR(check_tensor(c, shape, mesh.size(MeshDim::tensor)));
  if (c.dense_layers < c.layers)
    CONCLAVE_RETURN_IF_ERROR(check_split("experts", c.experts, MeshDim::expert, mesh.size(MeshDim::expert)));
  if (const int context = mesh.size(MeshDim::context); context > 1)
    return unsupported("the model does not split over the context dimension", "set parallel.context: 1", here);
  return {};
}

Status check_chunk(const Config& c, int chunk, int chunks) {
  if (chunk < 0 || chunk >= chunks)
    return internal_error("chunk " + std::to_string(chunk) + " of " + std::to_string(chunks), here);
  CONCLAVE_RETURN_IF_ERROR(check_chunks(c, chunks));
  if (!c.pipeline_layers.empty() && chunks > 1 && std::ssize(c.pipeline_layers) != chunks) {
    return invalid("pipeline_layers says " + std::to_string(c.pipeline_layers.size()) + " chunks, the run has " +
                       std::to_string(chunks),
                   "give a number for each pipeline rank and virtual stage, or none", here);
  }
  return {};
}

} // namespace

Result<ModelSummary> MoeTransformer::summarize(const ModelShape& shape, const Mesh& mesh) const {
  const Config& c = config_;
  CONCLAVE_RETURN_IF_ERROR(check_fit(c, shape, mesh));
  ModelSummary summary;
  summary.layers = static_cast<int>(c.layers);
  summary.experts = c.dense_layers < c.layers ? static_cast<int>(c.experts) : 0;
  const Layout layout = make_layout(c, shape.vocabulary);
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
  CONCLAVE_RETURN_IF_ERROR(check_fit(config_, request.shape, request.mesh));
  CONCLAVE_RETURN_IF_ERROR(check_chunk(config_, request.chunk, request.chunks));
  return std::unique_ptr<Stage>(std::make_unique<MoeStage>(config_, request));
}

Result<HuggingFaceForm> MoeTransformer::hugging_face(const ModelShape& shape, const SpecialTokens& special) const {
  return hugging_face_form(config_, shape, special);
}

} // namespace conclave::moe_transformer
