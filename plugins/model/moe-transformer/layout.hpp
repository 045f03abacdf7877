// Layout: the parameters and buffers of one pipeline chunk on one rank, and where each layer finds its own.
//
// Local tensors are fused for speed (QKV; gate and up of all experts); their pieces carry the Hugging Face style names of
// Qwen3-MoE. Over the tensor ranks, heads, hidden units of dense layers and shared experts, and the vocabulary are split
// evenly; over the expert ranks, whole experts are. Norms and the router are copies. What this is not: storage. Nothing is
// allocated here.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "conclave/model.hpp"
#include "options.hpp"

namespace conclave::moe_transformer {

inline constexpr std::size_t absent = static_cast<std::size_t>(-1);

/// Indices into the description's parameters and buffers; `absent` where the layer has no such tensor.
struct LayerSlots {
  std::int64_t layer = 0; ///< global index
  std::size_t input_norm = absent, qkv = absent, query_norm = absent, key_norm = absent;
  std::size_t head_gate = absent, head_gate_bias = absent, output = absent, post_norm = absent;
  std::size_t router = absent, gate_up = absent, down = absent; ///< router absent: a dense layer
  std::size_t shared_gate_up = absent, shared_down = absent;
  std::size_t selection_bias = absent, previous_load = absent, counts = absent; ///< buffers
};

struct Layout {
  StageDescription description;
  std::size_t embedding = absent, final_norm = absent, head = absent;
  std::vector<LayerSlots> layers;
};

/// Layers [first, last) of chunk `chunk`: as `pipeline_layers` says; without it as even as it goes, later chunks get the
/// longer share. A chunk of one has them all.
std::pair<std::int64_t, std::int64_t> chunk_layers(const Config& config, int chunk, int chunks);

/// For the rank that `mesh` says, which fits the config (model.cpp checks).
Layout make_layout(const Config& config, std::int64_t vocabulary, const Mesh& mesh = {}, int chunk = 0, int chunks = 1);

} // namespace conclave::moe_transformer
