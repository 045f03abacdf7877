// The option table, and what must hold between options whatever the vocabulary and the mesh are.

#include "options.hpp"

#include <numeric>
#include <string>

namespace conclave::moe_transformer {
namespace {

void validate(const Config& c, OptionReport& report) {
  if (c.head_width == 0 && c.width % c.heads != 0) {
    report.error(
        "heads",
        std::to_string(c.width) + " / " + std::to_string(c.heads) + " is not whole, so width does not split into heads",
        "choose a divisor of width, or set head_width");
    return;
  }
  if (c.head_size() % 2 != 0) {
    report.error(c.head_width > 0 ? "head_width" : "heads",
                 "a head is " + std::to_string(c.head_size()) + " wide and rotary embedding turns pairs",
                 "make it even");
  }
  if (c.heads % c.key_heads() != 0) {
    report.error("kv_heads",
                 std::to_string(c.heads) + " / " + std::to_string(c.key_heads()) +
                     " is not whole, so heads do not share key heads evenly",
                 "choose a divisor of heads");
  }
  if (c.dense_layers > c.layers) {
    report.error("dense_layers", std::to_string(c.dense_layers) + " of " + std::to_string(c.layers) + " layers",
                 "give at most `layers`");
  }
  if (c.dense_layers > 0 && c.dense_width == 0) {
    report.error("dense_width", "dense layers need a width",
                 "set dense_width, for example to top_k * expert_width = " + std::to_string(c.top_k * c.expert_width));
  }
  if (c.dense_layers < c.layers && c.top_k > c.experts) {
    report.error("top_k", std::to_string(c.top_k) + " of " + std::to_string(c.experts) + " experts",
                 "give at most `experts`");
  }
  if (c.hierarchy.local_layers > c.layers) {
    report.error(
        "hierarchy",
        "local_layers is " + std::to_string(c.hierarchy.local_layers) + " of " + std::to_string(c.layers) + " layers",
        "give at most `layers`");
  }
  if (c.hierarchy.local_layers > 0 && c.hierarchy.window.value == 0) {
    report.error("hierarchy", "local layers need a window",
                 "set hierarchy.window to the number of tokens that they see");
  }
  const std::int64_t placed = std::accumulate(c.pipeline_layers.begin(), c.pipeline_layers.end(), std::int64_t{0});
  if (!c.pipeline_layers.empty() && placed != c.layers) {
    report.error("pipeline_layers",
                 "the chunks have " + std::to_string(placed) + " layers and the model " + std::to_string(c.layers),
                 "give numbers that sum to `layers`");
  }
  if (c.router.bias_update_rate > 0 && c.router.balance_loss > 0.001) {
    report.hint(
        "router",
        "bias balancing together with a balance loss of " + detail::Codec<double>::render(c.router.balance_loss),
        "DeepSeek-V3 uses 1e-4 or less beside the bias");
  }
}

OptionTable router_table() {
  return OptionTableBuilder<RouterConfig>()
      .choice("scores", &RouterConfig::scores,
              {{"softmax", ops::RouterScores::softmax}, {"sigmoid", ops::RouterScores::sigmoid}})
      .doc("How logits become scores: softmax over the experts, or a sigmoid of each (DeepSeek-V3).")
      .opt("normalise_top_k", &RouterConfig::normalise_top_k)
      .doc("Divide the chosen experts' weights by their sum.")
      .opt("scaling", &RouterConfig::scaling)
      .above(0)
      .doc("Factor of the chosen weights, after normalisation.")
      .opt("balance_loss", &RouterConfig::balance_loss)
      .range(0, 10)
      .doc("Weight of the load-balance loss E sum_e f_e P_e, summed over layers; 1 a layer when balanced. 0: none.")
      .choice("balance_scope", &RouterConfig::balance_scope,
              {{"sequence", ops::BalanceScope::sequence},
               {"batch_lagged", ops::BalanceScope::batch_lagged},
               {"micro_batch", ops::BalanceScope::micro_batch}})
      .doc(
          "Tokens that the load-balance loss compares. sequence: each sequence's choices with its scores. "
          "batch_lagged: the choices of the previous global batch, kept in checkpoints, with the scores of this one. "
          "micro_batch: those of a micro-batch (Switch, Megatron), so train.micro_batch is part of the loss: set it, "
          "or the layout "
          "decides it.")
      .opt("z_loss", &RouterConfig::z_loss)
      .range(0, 10)
      .doc("Weight of the router z-loss, the mean of logsumexp(logits)^2, summed over layers. 0: none.")
      .opt("bias_update_rate", &RouterConfig::bias_update_rate)
      .range(0, 1)
      .doc(
          "Balancing without a loss: after each step an expert's selection bias moves by this much towards the mean "
          "load. "
          "0: no bias.")
      .build();
}

OptionTable hierarchy_table() {
  return OptionTableBuilder<HierarchyConfig>()
      .opt("local_layers", &HierarchyConfig::local_layers)
      .range(0, 1024)
      .doc("The lowest layers that see a local window only; the layers above see the whole text.")
      .opt("window", &HierarchyConfig::window)
      .range(0, 1 << 24)
      .doc("Tokens that a query of a local layer sees, itself included.")
      .opt("head_gates", &HierarchyConfig::head_gates)
      .doc("Weigh each head's output by 2 sigmoid(w_h x + b_h), learned, starting at 1.")
      .build();
}

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Config>()
      .opt("layers", &Config::layers)
      .range(1, 1024)
      .doc("Transformer layers.")
      .opt("width", &Config::width)
      .range(1, 1 << 20)
      .doc("Width of the residual stream.")
      .opt("heads", &Config::heads)
      .range(1, 1024)
      .doc("Query heads.")
      .opt("kv_heads", &Config::kv_heads)
      .range(0, 1024)
      .doc("Key and value heads, shared by groups of query heads. 0: as many as heads.")
      .opt("head_width", &Config::head_width)
      .range(0, 4096)
      .doc("Width of a head, even. 0: width / heads.")
      .opt("experts", &Config::experts)
      .range(1, 65536)
      .doc("Routed experts of a layer.")
      .opt("top_k", &Config::top_k)
      .range(1, 1024)
      .doc("Experts that each token goes to. No token is dropped.")
      .opt("expert_width", &Config::expert_width)
      .range(1, 1 << 20)
      .doc("Hidden width of an expert (SwiGLU).")
      .opt("shared_experts", &Config::shared_experts)
      .range(0, 64)
      .doc("Experts that every token goes to; they act as one of this many times expert_width.")
      .opt("dense_layers", &Config::dense_layers)
      .range(0, 1024)
      .doc("Leading layers with one dense SwiGLU instead of experts.")
      .opt("dense_width", &Config::dense_width)
      .range(0, 1 << 22)
      .doc("Hidden width of the dense layers.")
      .opt("qk_norm", &Config::qk_norm)
      .doc("RMSNorm of each query and key head before the rotation (Qwen3).")
      .opt("rope_theta", &Config::rope_theta)
      .above(1)
      .doc("Base of the rotary embedding.")
      .opt("norm_eps", &Config::norm_eps)
      .above(0)
      .doc("Added to the mean square in RMSNorm.")
      .group("router", &Config::router, router_table())
      .doc("How tokens find their experts.")
      .group("hierarchy", &Config::hierarchy, hierarchy_table())
      .doc("Hierarchical attention: local below, global above.")
      .opt("tie_embeddings", &Config::tie_embeddings)
      .doc("Use the token embedding as the output projection.")
      .opt("init_std", &Config::init_std)
      .above(0)
      .doc(
          "Standard deviation of initial weights; projections back to the residual stream have it divided by sqrt(2 "
          "layers).")
      .opt("pipeline_layers", &Config::pipeline_layers)
      .range(1, 1024)
      .affects(Affects::speed)
      .doc(
          "Layers of each pipeline chunk, from the first, which also embeds, to the last, which also has the loss; as "
          "many "
          "numbers as pipeline ranks times virtual stages. One chunk has all layers whatever is said here. []: even "
          "shares.")
      .validate(validate)
      .build();
}

} // namespace conclave::moe_transformer
