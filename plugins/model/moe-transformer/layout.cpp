// Names, shapes, pieces, placements and initial values of every parameter of a chunk.

#include "layout.hpp"

#include <cmath>
#include <numeric>
#include <optional>

#include "conclave/parallel/vocabulary.hpp"

namespace conclave::moe_transformer {
namespace {

using Sizes = std::vector<std::int64_t>;

/// What a rank holds of an axis.
struct Range {
  std::int64_t first = 0, size = 0;
};

/// Part `own` of one axis of a named tensor, lying from `place` on in the local one.
ParamPiece part_of(const std::string& name, const Sizes& shape, std::size_t axis, Range own, std::int64_t place) {
  ParamPiece piece{name, shape, {Sizes(shape.size(), 0), shape}, {Sizes(shape.size(), 0), shape}};
  piece.global.offset[axis] = own.first;
  piece.local.offset[axis] = place;
  piece.global.size[axis] = piece.local.size[axis] = own.size;
  return piece;
}

class Builder {
 public:
  Builder(const Config& config, const Mesh& mesh, Layout& layout) : config_(config), mesh_(mesh), layout_(layout) {}

  /// A copy on each tensor rank. Each uses it for rows or heads of its own, so gradients are partial sums.
  std::size_t copied(const std::string& name, const Sizes& shape, InitSpec init, DecayClass decay) {
    return add_dense(name, shape, {part_of(name, shape, 0, {0, shape[0]}, 0)}, std::nullopt, init, decay);
  }

  /// RMSNorm weights start at 1 and stay in the master's type.
  std::size_t norm(const std::string& name, std::int64_t width) {
    const std::size_t slot = copied(name, {width}, {InitKind::constant, 1}, DecayClass::no_decay);
    spec(slot).full_precision = true;
    return slot;
  }

  /// One named tensor, of which each tensor rank has an even part of `axis`.
  std::size_t split(const std::string& name, const Sizes& shape, std::size_t axis, InitSpec init, DecayClass decay) {
    const Range own = own_part(shape[axis]);
    Sizes local = shape;
    local[axis] = own.size;
    return add_dense(name, local, {part_of(name, shape, axis, own, 0)}, axis, init, decay);
  }

  /// This rank's rows of named [rows, columns] matrices, one matrix under the other.
  std::size_t stacked(const std::string& name, const std::vector<std::pair<std::string, std::int64_t>>& parts,
                      std::int64_t columns, InitSpec init) {
    std::vector<ParamPiece> pieces;
    std::int64_t row = 0;
    for (const auto& [part, rows] : parts) {
      const Range own = own_part(rows);
      pieces.push_back(part_of(part, {rows, columns}, 0, own, row));
      row += own.size;
    }
    return add_dense(name, {row, columns}, std::move(pieces), 0, init, DecayClass::decay);
  }

  /// A [V, D] table by token id. The last tensor rank's rows beyond V are padding.
  std::size_t by_token(const std::string& name, std::int64_t vocabulary) {
    const auto own = parallel::vocabulary_range(vocabulary, mesh_.size(MeshDim::tensor), mesh_.index(MeshDim::tensor));
    return add_dense(name, {own.local, config_.width},
                     {part_of(name, {vocabulary, config_.width}, 0, {own.first, own.real}, 0)}, 0, inner(),
                     DecayClass::decay);
  }

  /// One tensor [local experts, sum of rows, columns]; expert e's parts are `prefix.e.part.weight`.
  std::size_t per_expert(const std::string& name, const std::string& prefix, const std::vector<std::string>& parts,
                         std::int64_t rows, std::int64_t columns, InitSpec init) {
    const std::int64_t local = config_.experts / mesh_.size(MeshDim::expert);
    const std::int64_t first = local * mesh_.index(MeshDim::expert);
    ParamSpec spec;
    for (std::int64_t e = 0; e < local; ++e) {
      for (std::size_t p = 0; p < parts.size(); ++p) {
        spec.pieces.push_back({prefix + "." + std::to_string(first + e) + "." + parts[p] + ".weight",
                               {rows, columns},
                               {{0, 0}, {rows, columns}},
                               {{e, static_cast<std::int64_t>(p) * rows, 0}, {1, rows, columns}}});
      }
    }
    spec.name = name;
    spec.shape = {local, static_cast<std::int64_t>(parts.size()) * rows, columns};
    if (mesh_.size(MeshDim::expert) > 1) spec.placements = {{MeshDim::expert, 0}};
    spec.replicated_over = spec.grad_sum_over = {MeshDim::expert_data};
    spec.init = init;
    return add(std::move(spec));
  }

  std::size_t buffer(BufferSpec spec) {
    layout_.description.buffers.push_back(std::move(spec));
    return layout_.description.buffers.size() - 1;
  }

  ParamSpec& spec(std::size_t slot) { return layout_.description.parameters[slot]; }

  [[nodiscard]] InitSpec inner() const { return {InitKind::normal, config_.init_std}; }
  /// Projections that add to the residual stream: its variance stays bounded as layers are added (GPT-2).
  [[nodiscard]] InitSpec residual() const {
    return {InitKind::normal, config_.init_std / std::sqrt(2.0 * static_cast<double>(config_.layers))};
  }

 private:
  [[nodiscard]] Range own_part(std::int64_t n) const {
    const std::int64_t size = n / mesh_.size(MeshDim::tensor);
    return {size * mesh_.index(MeshDim::tensor), size};
  }

  /// `axis`: the one that is split over the tensor ranks; none: each has a copy.
  std::size_t add_dense(const std::string& name, Sizes shape, std::vector<ParamPiece> pieces,
                        std::optional<std::size_t> axis, InitSpec init, DecayClass decay) {
    ParamSpec spec;
    spec.name = name;
    spec.shape = std::move(shape);
    spec.pieces = std::move(pieces);
    spec.replicated_over = {MeshDim::data};
    if (mesh_.size(MeshDim::tensor) > 1) {
      if (axis)
        spec.placements = {{MeshDim::tensor, static_cast<int>(*axis)}};
      else
        spec.replicated_over.push_back(MeshDim::tensor);
    }
    spec.grad_sum_over = spec.replicated_over;
    spec.decay = decay;
    spec.init = init;
    return add(std::move(spec));
  }

  std::size_t add(ParamSpec spec) {
    layout_.description.parameters.push_back(std::move(spec));
    return layout_.description.parameters.size() - 1;
  }

  const Config& config_;
  const Mesh& mesh_;
  Layout& layout_;
};

void add_attention(Builder& build, const Config& c, const std::string& prefix, LayerSlots& slots) {
  const std::string attention = prefix + ".self_attn";
  const std::int64_t query = c.heads * c.head_size(), key = c.key_heads() * c.head_size();
  slots.input_norm = build.norm(prefix + ".input_layernorm.weight", c.width);
  // With fewer key heads than tensor ranks, the parts of keys and values are slices of a head (MoeStage::own_heads).
  slots.qkv = build.stacked(
      attention + ".qkv_proj.weight",
      {{attention + ".q_proj.weight", query}, {attention + ".k_proj.weight", key}, {attention + ".v_proj.weight", key}},
      c.width, build.inner());
  if (c.qk_norm) {
    slots.query_norm = build.norm(attention + ".q_norm.weight", c.head_size());
    slots.key_norm = build.norm(attention + ".k_norm.weight", c.head_size());
  }
  if (c.hierarchy.head_gates) {
    slots.head_gate =
        build.split(attention + ".head_gate.weight", {c.heads, c.width}, 0, {InitKind::zeros, 0}, DecayClass::decay);
    slots.head_gate_bias =
        build.split(attention + ".head_gate.bias", {c.heads}, 0, {InitKind::zeros, 0}, DecayClass::no_decay);
  }
  slots.output = build.split(attention + ".o_proj.weight", {c.width, query}, 1, build.residual(), DecayClass::decay);
  slots.post_norm = build.norm(prefix + ".post_attention_layernorm.weight", c.width);
}

void add_swiglu(Builder& build, const Config& c, const std::string& prefix, std::int64_t hidden, std::size_t& gate_up,
                std::size_t& down) {
  gate_up = build.stacked(prefix + ".gate_up_proj.weight",
                          {{prefix + ".gate_proj.weight", hidden}, {prefix + ".up_proj.weight", hidden}}, c.width,
                          build.inner());
  down = build.split(prefix + ".down_proj.weight", {c.width, hidden}, 1, build.residual(), DecayClass::decay);
}

void add_feed_forward(Builder& build, const Config& c, const std::string& prefix, LayerSlots& slots) {
  const std::string mlp = prefix + ".mlp", experts = mlp + ".experts";
  if (c.is_dense(slots.layer)) return add_swiglu(build, c, mlp, c.dense_width, slots.gate_up, slots.down);
  slots.router = build.copied(mlp + ".gate.weight", {c.experts, c.width}, build.inner(), DecayClass::decay);
  build.spec(slots.router).full_precision = true; // top-k is discontinuous: choices must not hang on rounding
  slots.gate_up = build.per_expert(experts + ".gate_up_proj.weight", experts, {"gate_proj", "up_proj"}, c.expert_width,
                                   c.width, build.inner());
  slots.down = build.per_expert(experts + ".down_proj.weight", experts, {"down_proj"}, c.width, c.expert_width,
                                build.residual());
  if (c.shared_experts > 0) {
    add_swiglu(build, c, mlp + ".shared_experts", c.shared_experts * c.expert_width, slots.shared_gate_up,
               slots.shared_down);
  }
  const int layer = static_cast<int>(slots.layer);
  if (c.router.bias_update_rate > 0) {
    slots.selection_bias =
        build.buffer({mlp + ".gate.e_score_correction_bias", {c.experts}, at::kFloat, BufferUse::state, "", layer});
  }
  if (c.keeps_load()) {
    slots.previous_load =
        build.buffer({mlp + ".gate.previous_expert_load", {c.experts}, at::kLong, BufferUse::state, "", layer});
  }
  slots.counts =
      build.buffer({mlp + ".gate.expert_load", {c.experts}, at::kLong, BufferUse::counter, "expert_load", layer});
}

} // namespace

std::pair<std::int64_t, std::int64_t> chunk_layers(const Config& config, int chunk, int chunks) {
  if (config.pipeline_layers.empty() || chunks == 1)
    return {config.layers * chunk / chunks, config.layers * (chunk + 1) / chunks};
  const auto own = config.pipeline_layers.begin() + chunk;
  const std::int64_t first = std::accumulate(config.pipeline_layers.begin(), own, std::int64_t{0});
  return {first, first + *own};
}

Layout make_layout(const Config& config, std::int64_t vocabulary, const Mesh& mesh, int chunk, int chunks) {
  Layout layout;
  Builder build(config, mesh, layout);
  const std::string embedding = "model.embed_tokens.weight";
  if (chunk == 0) layout.embedding = build.by_token(embedding, vocabulary);
  const auto [first, last] = chunk_layers(config, chunk, chunks);
  for (std::int64_t layer = first; layer < last; ++layer) {
    LayerSlots slots;
    slots.layer = layer;
    const std::string prefix = "model.layers." + std::to_string(layer);
    add_attention(build, config, prefix, slots);
    add_feed_forward(build, config, prefix, slots);
    layout.layers.push_back(slots);
  }
  if (chunk != chunks - 1) return layout;
  layout.final_norm = build.norm("model.norm.weight", config.width);
  if (!config.tie_embeddings) {
    layout.head = build.by_token("lm_head.weight", vocabulary);
  } else if (chunk == 0) {
    layout.head = layout.embedding;
    build.spec(layout.head).contributions = 2;
  } else { // a copy on the last chunk, of the same name and so of the same initial values
    layout.head = build.by_token(embedding, vocabulary);
    build.spec(layout.head).tied_with = embedding;
    build.spec(layout.head).norm_owner = false;
  }
  return layout;
}

} // namespace conclave::moe_transformer
