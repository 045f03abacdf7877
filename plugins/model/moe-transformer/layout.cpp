// Names, shapes, pieces and initial values of every parameter of a chunk.

#include "layout.hpp"

#include <cmath>
#include <utility>

namespace conclave::moe_transformer {
namespace {

using Sizes = std::vector<std::int64_t>;

class Builder {
 public:
  Builder(const Config& config, Layout& layout) : config_(config), layout_(layout) {}

  /// A parameter that is one named tensor.
  std::size_t whole(const std::string& name, const Sizes& shape, InitSpec init, DecayClass decay) {
    const Sizes zeros(shape.size(), 0);
    return add(name, shape, {{name, shape, {zeros, shape}, {zeros, shape}}}, init, decay, MeshDim::data);
  }

  /// RMSNorm weights start at 1 and stay in the master's type.
  std::size_t norm(const std::string& name, std::int64_t width) {
    const std::size_t slot = whole(name, {width}, {InitKind::constant, 1}, DecayClass::no_decay);
    spec(slot).full_precision = true;
    return slot;
  }

  /// A parameter made of named [rows, columns] matrices stacked along the rows.
  std::size_t stacked(const std::string& name, const std::vector<std::pair<std::string, std::int64_t>>& parts,
                      std::int64_t columns, InitSpec init) {
    std::vector<ParamPiece> pieces;
    std::int64_t row = 0;
    for (const auto& [part, rows] : parts) {
      pieces.push_back({part, {rows, columns}, {{0, 0}, {rows, columns}}, {{row, 0}, {rows, columns}}});
      row += rows;
    }
    return add(name, {row, columns}, std::move(pieces), init, DecayClass::decay, MeshDim::data);
  }

  /// One tensor [experts, sum of rows, columns]; expert e's parts are `prefix.e.part.weight`.
  std::size_t per_expert(const std::string& name, const std::string& prefix, const std::vector<std::string>& parts,
                         std::int64_t rows, std::int64_t columns, InitSpec init) {
    std::vector<ParamPiece> pieces;
    for (std::int64_t e = 0; e < config_.experts; ++e) {
      for (std::size_t p = 0; p < parts.size(); ++p) {
        pieces.push_back({prefix + "." + std::to_string(e) + "." + parts[p] + ".weight",
                          {rows, columns},
                          {{0, 0}, {rows, columns}},
                          {{e, static_cast<std::int64_t>(p) * rows, 0}, {1, rows, columns}}});
      }
    }
    const Sizes shape{config_.experts, static_cast<std::int64_t>(parts.size()) * rows, columns};
    return add(name, shape, std::move(pieces), init, DecayClass::decay, MeshDim::expert_data);
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
  std::size_t add(const std::string& name, const Sizes& shape, std::vector<ParamPiece> pieces, InitSpec init,
                  DecayClass decay, MeshDim copies) {
    ParamSpec spec;
    spec.name = name;
    spec.shape = shape;
    spec.pieces = std::move(pieces);
    spec.replicated_over = {copies};
    spec.grad_sum_over = {copies};
    spec.decay = decay;
    spec.init = init;
    layout_.description.parameters.push_back(std::move(spec));
    return layout_.description.parameters.size() - 1;
  }

  const Config& config_;
  Layout& layout_;
};

void add_attention(Builder& build, const Config& c, const std::string& prefix, LayerSlots& slots) {
  const std::string attention = prefix + ".self_attn";
  const std::int64_t query = c.heads * c.head_size(), key = c.key_heads() * c.head_size();
  slots.input_norm = build.norm(prefix + ".input_layernorm.weight", c.width);
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
        build.whole(attention + ".head_gate.weight", {c.heads, c.width}, {InitKind::zeros, 0}, DecayClass::decay);
    slots.head_gate_bias =
        build.whole(attention + ".head_gate.bias", {c.heads}, {InitKind::zeros, 0}, DecayClass::no_decay);
  }
  slots.output = build.whole(attention + ".o_proj.weight", {c.width, query}, build.residual(), DecayClass::decay);
  slots.post_norm = build.norm(prefix + ".post_attention_layernorm.weight", c.width);
}

void add_swiglu(Builder& build, const Config& c, const std::string& prefix, std::int64_t hidden, std::size_t& gate_up,
                std::size_t& down) {
  gate_up = build.stacked(prefix + ".gate_up_proj.weight",
                          {{prefix + ".gate_proj.weight", hidden}, {prefix + ".up_proj.weight", hidden}}, c.width,
                          build.inner());
  down = build.whole(prefix + ".down_proj.weight", {c.width, hidden}, build.residual(), DecayClass::decay);
}

void add_feed_forward(Builder& build, const Config& c, const std::string& prefix, LayerSlots& slots) {
  const std::string mlp = prefix + ".mlp", experts = mlp + ".experts";
  if (c.is_dense(slots.layer)) return add_swiglu(build, c, mlp, c.dense_width, slots.gate_up, slots.down);
  slots.router = build.whole(mlp + ".gate.weight", {c.experts, c.width}, build.inner(), DecayClass::decay);
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
  slots.counts =
      build.buffer({mlp + ".gate.expert_load", {c.experts}, at::kLong, BufferUse::counter, "expert_load", layer});
}

} // namespace

std::pair<std::int64_t, std::int64_t> chunk_layers(std::int64_t layers, int chunk, int chunks) {
  return {layers * chunk / chunks, layers * (chunk + 1) / chunks};
}

Layout make_layout(const Config& config, std::int64_t vocabulary, int chunk, int chunks) {
  Layout layout;
  Builder build(config, layout);
  const std::vector<std::int64_t> table{vocabulary, config.width};
  const std::string embedding = "model.embed_tokens.weight";
  if (chunk == 0) layout.embedding = build.whole(embedding, table, build.inner(), DecayClass::decay);
  const auto [first, last] = chunk_layers(config.layers, chunk, chunks);
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
    layout.head = build.whole("lm_head.weight", table, build.inner(), DecayClass::decay);
  } else if (chunk == 0) {
    layout.head = layout.embedding;
    build.spec(layout.head).contributions = 2;
  } else { // a copy on the last chunk, of the same name and so of the same initial values
    layout.head = build.whole(embedding, table, build.inner(), DecayClass::decay);
    build.spec(layout.head).tied_with = embedding;
    build.spec(layout.head).norm_owner = false;
  }
  return layout;
}

} // namespace conclave::moe_transformer
