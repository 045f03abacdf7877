// Private: the CPU kernels of the operators, for fp32 and fp64, on contiguous row-major memory.
//
// Partial sums of weight gradients come as [parameter_blocks(rows), width] and are added in order by the caller, so that
// results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace conclave::ops {
enum class BalanceScope; // conclave/ops/router.hpp
}

namespace conclave::ops::cpu {

/// Blocks that a reduction over rows is cut into: a function of the rows alone.
inline std::int64_t reduction_blocks(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 64, 1, 16); }

// ---- RMSNorm: x, y [rows, width]; weight [width]; scale [rows] = 1 / rms ----
template <class T>
void rms_norm_forward(const T* x, const T* weight, std::int64_t rows, std::int64_t width, double eps, T* y, T* scale);
/// dweight [reduction_blocks(rows), width], zeroed by the caller.
template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* weight, const T* scale, std::int64_t rows, std::int64_t width,
                       T* dx, T* dweight);

// ---- split, norm of heads, rotation ----
struct RotaryShape {
  std::int64_t tokens, heads, kv_heads, head_width;
  [[nodiscard]] std::int64_t row() const { return (heads + 2 * kv_heads) * head_width; }
};
/// Null weights: no norm; then `scale` is not used. scale [tokens, heads + kv_heads].
template <class T>
struct RotaryInputs {
  const T* qkv;
  const std::int64_t* positions; ///< [tokens]
  const T *cos, *sin;            ///< [length, head_width / 2]
  const T *query_weight, *key_weight;
  double eps;
};
template <class T>
void rotary_forward(const RotaryShape& shape, const RotaryInputs<T>& in, T* query, T* key, T* value, T* scale);
/// dquery_weight, dkey_weight: [reduction_blocks(tokens), head_width], zeroed by the caller; null without a norm.
template <class T>
void rotary_backward(const RotaryShape& shape, const RotaryInputs<T>& in, const T* scale, const T* dquery,
                     const T* dkey, const T* dvalue, T* dqkv, T* dquery_weight, T* dkey_weight);

// ---- attention: query, out [B, S, H, D]; key, value [B, S, G, D]; lse [B, H, S] ----
struct AttentionShape {
  std::int64_t batch, length, heads, kv_heads, head_width;
  std::int64_t window;          ///< 0: all earlier keys
  const std::int32_t* segments; ///< [B, S] or null
};
template <class T>
void attention_forward(const AttentionShape& shape, const T* query, const T* key, const T* value, T* out, T* lse);
/// dkey and dvalue are zeroed by the caller.
template <class T>
void attention_backward(const AttentionShape& shape, const T* query, const T* key, const T* value, const T* out,
                        const T* lse, const T* dout, T* dquery, T* dkey, T* dvalue);

/// x, y [rows, width]; logits [rows].
template <class T>
void gate_forward(const T* x, const T* logits, std::int64_t rows, std::int64_t width, T* y);
template <class T>
void gate_backward(const T* dy, const T* x, const T* logits, std::int64_t rows, std::int64_t width, T* dx, T* dlogits);

// ---- router ----
struct RouterShape {
  std::int64_t sequences, length, experts, top_k;
  bool softmax, normalise;
  double scaling;
  BalanceScope balance_scope;
};
/// bias [E] or null; real [T] or null; previous_load [E], not all 0, or null where the scope does not read it; load [B, E]
/// receives the counts of real tokens by sequence.
template <class T>
void router_forward(const RouterShape& shape, const T* logits, const T* bias, const bool* real,
                    const std::int64_t* previous_load, T* weights, std::int64_t* chosen, std::int64_t* load,
                    double* balance_loss, double* z_loss);
template <class T>
void router_backward(const RouterShape& shape, const T* logits, const bool* real, const std::int64_t* previous_load,
                     const std::int64_t* chosen, const std::int64_t* load, const T* dweights, double dbalance,
                     double dz, T* dlogits);

// ---- SwiGLU: gate_and_up [rows, 2 width] -> [rows, width] ----
template <class T>
void swiglu_forward(const T* gate_and_up, std::int64_t rows, std::int64_t width, T* y);
template <class T>
void swiglu_backward(const T* dy, const T* gate_and_up, std::int64_t rows, std::int64_t width, T* dgate_and_up);

// ---- experts ----
struct ExpertShape {
  std::int64_t tokens, top_k, experts, width, hidden;
};
/// Pairs (token, choice) sorted by expert, in token order within one.
struct ExpertPlan {
  std::vector<std::int64_t> begin;    ///< [E + 1]: rows of expert e are [begin[e], begin[e + 1])
  std::vector<std::int64_t> pair;     ///< [T K]: token * K + choice of each sorted row
  std::vector<std::int64_t> position; ///< [T K]: sorted row of each pair
};
ExpertPlan plan_experts(const std::int64_t* chosen, const ExpertShape& shape);

template <class T>
struct ExpertInputs {
  const T *x, *weights;    ///< [T, width], [T, K]
  const T *gate_up, *down; ///< [E, 2 hidden, width], [E, width, hidden]
};
/// preactivation [T K, 2 hidden] is kept for the backward pass; addend [T, width] or null.
template <class T>
void experts_forward(const ExpertShape& shape, const ExpertPlan& plan, const ExpertInputs<T>& in, const T* addend,
                     T* preactivation, T* y);
/// Gradients of the parameters are added to when `add`, else written over.
template <class T>
struct ExpertGradients {
  T *dx, *dweights;
  T *dgate_up, *ddown;
  bool add_gate_up, add_down;
};
template <class T>
void experts_backward(const ExpertShape& shape, const ExpertPlan& plan, const ExpertInputs<T>& in,
                      const T* preactivation, const T* dy, const ExpertGradients<T>& out);

// ---- cross entropy ----
struct LossShape {
  std::int64_t rows, columns; ///< of the logits: the vocabulary, or a part of its ids
  std::int64_t vocabulary;    ///< of all ids
  double label_smoothing, z_loss;
  bool gradient; ///< turn logits into the gradient of the summed loss, in place
};
template <class T>
struct LossRows {
  T* logits;                  ///< [rows, columns]
  const std::int64_t* labels; ///< [rows]: column of the label; outside [0, columns) where it is no id of this part
  const bool* counted;        ///< [rows]
  T* maxima;                  ///< [rows]
  T* sums; ///< [2 or 3, rows] over the columns: of exp(logit - maximum), of the label's logit, with smoothing of logits
  T *loss, *nll; ///< [rows]: 0 where not counted
};
/// Over the whole vocabulary; maxima and sums are not used.
template <class T>
void cross_entropy_rows(const LossShape& shape, const LossRows<T>& rows);
/// The same in three steps over a part of it; the caller reduces maxima and sums over the parts in between. The second turns
/// logits into exponentials. Nothing is counted in a row that is not.
template <class T>
void cross_entropy_maxima(const LossShape& shape, const LossRows<T>& rows);
template <class T>
void cross_entropy_sums(const LossShape& shape, const LossRows<T>& rows);
template <class T>
void cross_entropy_finish(const LossShape& shape, const LossRows<T>& rows);

} // namespace conclave::ops::cpu
