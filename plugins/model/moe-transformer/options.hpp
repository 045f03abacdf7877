// Options of model/moe-transformer: plain values, and the table that binds, checks and documents them.
// What this is not: arithmetic against a vocabulary or a mesh; that is model.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "conclave/ops/router.hpp"
#include "conclave/options.hpp"

namespace conclave::moe_transformer {

struct RouterConfig {
  ops::RouterScores scores = ops::RouterScores::softmax;
  bool normalise_top_k = true;
  double scaling = 1;
  double balance_loss = 0.01;
  ops::BalanceScope balance_scope = ops::BalanceScope::sequence;
  double z_loss = 0.001;
  double bias_update_rate = 0;
};

struct HierarchyConfig {
  std::int64_t local_layers = 0;
  Count window = 0;
  bool head_gates = false;
};

struct Config {
  std::int64_t layers = 24, width = 2048, heads = 16, kv_heads = 0, head_width = 0;
  std::int64_t experts = 16, top_k = 2, expert_width = 1408, shared_experts = 0, dense_layers = 0, dense_width = 0;
  bool qk_norm = false;
  double rope_theta = 10000, norm_eps = 1e-6;
  RouterConfig router;
  HierarchyConfig hierarchy;
  bool tie_embeddings = false;
  double init_std = 0.02;
  std::vector<std::int64_t> pipeline_layers; ///< of each chunk; empty: even shares

  [[nodiscard]] std::int64_t key_heads() const { return kv_heads > 0 ? kv_heads : heads; }
  [[nodiscard]] std::int64_t head_size() const { return head_width > 0 ? head_width : width / heads; }
  /// The balance loss reads the loads of the previous global batch.
  [[nodiscard]] bool keeps_load() const {
    return router.balance_loss > 0 && router.balance_scope == ops::BalanceScope::batch_lagged;
  }
  [[nodiscard]] bool is_dense(std::int64_t layer) const { return layer < dense_layers; }
  /// Keys that a query of the layer sees; 0: all.
  [[nodiscard]] std::int64_t window_of(std::int64_t layer) const {
    return layer < hierarchy.local_layers ? hierarchy.window.value : 0;
  }
};

OptionTable option_table();

} // namespace conclave::moe_transformer
