// Layout: the parameters and buffers of one pipeline chunk, and where each layer finds its own.
//
// Local tensors are fused for speed (QKV; gate and up of all experts); their pieces carry the Hugging Face style names of
// Qwen3-MoE. What this is not: storage. Nothing is allocated here.
#pragma once

#include <cstddef>
#include <string>
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
  std::size_t selection_bias = absent, counts = absent; ///< buffers
};

struct Layout {
  StageDescription description;
  std::size_t embedding = absent, final_norm = absent, head = absent;
  std::vector<LayerSlots> layers;
};

/// Layers [first, last) of chunk `chunk`: as even as it goes, later chunks get the longer share.
std::pair<std::int64_t, std::int64_t> chunk_layers(std::int64_t layers, int chunk, int chunks);

Layout make_layout(const Config& config, std::int64_t vocabulary, int chunk, int chunks);

} // namespace conclave::moe_transformer
