// GpuKernels: our CUDA kernels as the operators call them.
//
// They live in libconclave_cuda.so (sdk/cuda), which is opened when the first operator meets a CUDA tensor: the program itself
// links no CUDA. Where it is missing, or a tensor does not fit, operators take ATen's path, which computes the same.
//
// Every method enqueues on the current stream of the tensors' device and waits for nothing. Tensors are contiguous, in fp32, bf16
// or fp16 where "any type" is said; sums are in fp32; nothing depends on the order of threads (no atomics on floating numbers).
// Outputs that the caller gives are written whole. Not installed, not for plugins.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "conclave/ops/adamw.hpp"
#include "conclave/ops/router.hpp"

namespace conclave::ops {

class GpuKernels {
 public:
  virtual ~GpuKernels();

  // rms_norm ------------------------------------------------------------------------------------------------------

  /// y = x / sqrt(mean(x^2) + eps) * weight. x, y [N, D] any type, D * element size a multiple of 16 and at most 32768; weight
  /// [D] fp32, aligned to 16 bytes; scale [N] fp32 gets 1 / sqrt(mean(x^2) + eps).
  virtual void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& y,
                        const at::Tensor& scale) const = 0;
  /// dx [N, D] = the gradient through rms_norm, plus `addend` [N, D] when defined. dweight [D] fp32 is written, or added to when
  /// `accumulate`; undefined: not wanted.
  virtual void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& scale, const at::Tensor& addend, const at::Tensor& dx,
                                 const at::Tensor& dweight, bool accumulate) const = 0;

  // split_rotary --------------------------------------------------------------------------------------------------

  /// See split_rotary. qkv [.., (H + 2 G) W] any type; query [.., H, W], key and value [.., G, W]; W * element size a multiple
  /// of 32 and at most 1024. positions [..] int64, cos and sin [length, W / 2] fp32; a position that they do not have stops the
  /// kernel. Both weights [W] fp32, or both undefined: no norm.
  struct RotaryInputs {
    at::Tensor positions, cos, sin, query_weight, key_weight;
    double eps = 0;
  };
  virtual void split_rotary(const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value) const = 0;
  /// dqkv [.., (H + 2 G) W]. qkv is what the forward pass was given, and undefined without a norm. The weights' gradients [W]
  /// fp32 are written, or added to what there is.
  struct WeightGradient {
    at::Tensor sum;
    bool accumulate = false;
  };
  virtual void split_rotary_backward(const at::Tensor& dquery, const at::Tensor& dkey, const at::Tensor& dvalue,
                                     const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& dqkv,
                                     const WeightGradient& dquery_weight, const WeightGradient& dkey_weight) const = 0;

  // attention -------------------------------------------------------------------------------------------------------

  /// Where the segments of a batch lie, runs of equal ids in a row. spans [2, B, S] int32: for each token the first of its segment
  /// and the one after its last, counted through the batch. slots [2, N] int32: first tokens and lengths of the segments that cuDNN
  /// takes; N depends on B and S alone.
  struct Segments {
    at::Tensor spans, slots;
  };
  /// False: built without cuDNN's headers, or LibTorch has no cuDNN; takes_attention() then says no to everything.
  [[nodiscard]] virtual bool has_attention() const = 0;
  /// Whether it may take segments, too: Hopper or later.
  [[nodiscard]] virtual bool has_segments() const = 0;
  /// segment_ids [B, S] int32, B S below 2^31.
  [[nodiscard]] virtual Segments find_segments(const at::Tensor& segment_ids) const = 0;

  /// query [B, S, H, D], key [B, S, G, D], value [B, S, G, V], bf16 or fp16, the last axis dense, others of any stride in whole
  /// 16-byte units. window 0: none.
  struct AttentionInputs {
    at::Tensor query, key, value;
    std::int64_t window = 0;
    Segments segments;          ///< both undefined: one segment a row; else the tensors are contiguous
    bool deterministic = false; ///< the backward pass adds in a fixed order
  };
  /// Whether the two below serve, forward and backward. The first call with new shapes builds cuDNN's plans: not while a CUDA graph
  /// is recorded.
  [[nodiscard]] virtual bool takes_attention(const AttentionInputs& in) const = 0;
  /// out [B, S, H, V]; lse fp32, B S H numbers for attention_backward().
  virtual void attention(const AttentionInputs& in, const at::Tensor& out, const at::Tensor& lse) const = 0;
  /// dout as out; dquery, dkey, dvalue contiguous.
  virtual void attention_backward(const at::Tensor& dout, const AttentionInputs& in, const at::Tensor& out,
                                  const at::Tensor& lse, const at::Tensor& dquery, const at::Tensor& dkey,
                                  const at::Tensor& dvalue) const = 0;

  // head_gate -----------------------------------------------------------------------------------------------------

  /// y = x * 2 sigmoid(logits). x, y [.., D] any type, D * element size a multiple of 16; logits [..] of x's type.
  virtual void head_gate(const at::Tensor& x, const at::Tensor& logits, const at::Tensor& y) const = 0;
  virtual void head_gate_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& logits,
                                  const at::Tensor& dx, const at::Tensor& dlogits) const = 0;

  // rows by expert --------------------------------------------------------------------------------------------------

  static constexpr std::int64_t most_experts = 8192;
  /// experts [T, K] int64 below ends.numel(), stably sorted: pair [T K] int64 gets the choice of each sorted row, counted through
  /// [T, K], source [T K] int64 its token, position [T, K] int64 the row of each choice, ends [E] int32 the end row of each expert.
  /// E is at most most_experts.
  virtual void sort_by_expert(const at::Tensor& experts, const at::Tensor& pair, const at::Tensor& source,
                              const at::Tensor& position, const at::Tensor& ends) const = 0;
  /// to [R, D] = from[source[r]]; any type, rows of whole 16-byte units.
  virtual void gather_rows(const at::Tensor& from, const at::Tensor& source, const at::Tensor& to) const = 0;
  /// to [T, D] = the sum over k of from[position[t, k]], in that order, plus `addend` [T, D] when defined; rounded once.
  virtual void sum_choices(const at::Tensor& from, const at::Tensor& position, const at::Tensor& addend,
                           const at::Tensor& to) const = 0;
  /// The weights of rows, R fp32 numbers of any shape: row r has number pair[r], a permutation. Both undefined: every weight is 1.
  struct RowWeights {
    at::Tensor weights, pair;
  };
  /// y [R, F] = silu(x[:, :F]) * x[:, F:] * weight; any type, F * element size a multiple of 16.
  virtual void swiglu(const at::Tensor& x, const RowWeights& in, const at::Tensor& y) const = 0;
  /// dx [R, 2F]; y, when defined, gets the forward pass's result again; dweights, when defined, is the weights' gradient, in
  /// their order.
  virtual void swiglu_backward(const at::Tensor& dy, const at::Tensor& x, const RowWeights& in, const at::Tensor& dx,
                               const at::Tensor& y, const at::Tensor& dweights) const = 0;

  // cross_entropy ---------------------------------------------------------------------------------------------------

  /// For each row of logits [n, V] fp32, of which all V are real: loss and nll [n] fp32 as ops::cross_entropy defines them, 0
  /// where mask [n] is false; gradient [n, V] any type, when defined: of the summed loss. labels [n] int64 in [0, V).
  virtual void cross_entropy(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& mask,
                             double label_smoothing, double z_loss, const at::Tensor& loss, const at::Tensor& nll,
                             const at::Tensor& gradient) const = 0;

  // route -----------------------------------------------------------------------------------------------------------

  static constexpr std::int64_t most_routed_experts = 512, most_choices = 16;
  /// As ops::route has them, fp32; all but sequences may be undefined. previous_load in the scope batch_lagged only.
  struct RouteInputs {
    at::Tensor selection_bias, mask, previous_load;
    std::int64_t sequences = 1;
    RouterOptions options;
  };
  /// As ops::Routing has them. slope [sequences, E] fp32: of the balance loss by an expert's normalised score for a real token.
  struct RouteOutputs {
    at::Tensor weights, experts, counts, balance_loss, z_loss, slope;
  };
  /// logits [T, E] fp32. Equal scores choose the lower expert.
  virtual void route(const at::Tensor& logits, const RouteInputs& in, const RouteOutputs& out) const = 0;
  /// Of the outputs that have one: [T, K] and scalars, fp32. Undefined: 0.
  struct RouteGradients {
    at::Tensor weights, balance_loss, z_loss;
  };
  virtual void route_backward(const at::Tensor& logits, const RouteInputs& in, const at::Tensor& experts,
                              const at::Tensor& slope, const RouteGradients& gradients,
                              const at::Tensor& dlogits) const = 0;

  // wide_linear -----------------------------------------------------------------------------------------------------

  enum class Factor { left, right };
  /// x [R, C] fp32 in parts for a product of bf16: x = p0 + p1 + p2, each the rounded rest. A left factor becomes [R, 6, C] with
  /// p0 p1 p2 p0 p1 p0 in each row, a right one [6, R, C] with p2 p1 p0 p1 p0 p0: the product of a left [R, 6 C] and a right
  /// [6 C, N] has all terms of fp32's precision, and the first three hold x whole. C is a multiple of 4; x is aligned to 16 bytes.
  virtual void split_factor(const at::Tensor& x, Factor factor, const at::Tensor& parts) const = 0;
  /// out [R, C] fp32 = the sum over the middle axis of in [R, 3, C] fp32; added to out when `accumulate`.
  virtual void sum_parts(const at::Tensor& in, const at::Tensor& out, bool accumulate) const = 0;

  // adamw -----------------------------------------------------------------------------------------------------------

  struct AdamWTensors {
    at::Tensor master, gradient, average, square; ///< [n] fp32, any alignment
    at::Tensor value;                             ///< [n] bf16 or fp16, or undefined
  };
  struct AdamWScalars {
    at::Tensor learning_rate, step, gradient_scale, apply; ///< fp32
  };
  /// See conclave/ops/adamw.hpp.
  virtual void adamw(const AdamWTensors& tensors, const AdamWScalars& scalars,
                     const AdamWCoefficients& coefficients) const = 0;

  // initial values --------------------------------------------------------------------------------------------------

  /// A box of a tensor of `shape`, of at most 4 axes.
  struct BoxOf {
    std::array<std::int64_t, 4> shape, offset, size;
    int axes = 0;
  };
  /// out's elements in `local` = scale * normal(i), rounded once from fp64, i the index in `global` of the same element;
  /// normal is RandomStream's with that state(). out any type or fp64.
  virtual void fill_normal(const at::Tensor& out, const BoxOf& local, const BoxOf& global,
                           std::array<std::uint32_t, 4> stream, double scale) const = 0;

  // grouped products ------------------------------------------------------------------------------------------------

  /// False: built without CUTLASS, and the two below throw.
  [[nodiscard]] virtual bool has_grouped() const = 0;
  /// grouped_product() is the one to take for that type here: LibTorch's would wait for the GPU.
  [[nodiscard]] virtual bool prefers_grouped_product(at::ScalarType type) const = 0;
  /// For rows of group g, ends[g - 1] <= row < ends[g]: y [R, N] = x [R, K] times weight[g]^T, weight [G, N, K], when
  /// `transposed`; else times weight[g], weight [G, K, N]. bf16 or fp16, one type; K and N multiples of 8; ends [G] int32. Rows from
  /// ends[G - 1] on are not written.
  virtual void grouped_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& ends, bool transposed,
                               const at::Tensor& y) const = 0;
  /// out [G, M, N] fp32 = left^T right over each group's rows, left [R, M], right [R, N]; added to out when `accumulate`.
  virtual void grouped_weight_gradient(const at::Tensor& left, const at::Tensor& right, const at::Tensor& ends,
                                       const at::Tensor& out, bool accumulate) const = 0;
};

/// Null where there is no GPU in use or no library, or Operators::reference was asked for.
const GpuKernels* gpu_kernels();

/// The kernels, when x is a tensor that they take: on a GPU, fp32, bf16 or fp16, rows of whole 16-byte units.
const GpuKernels* gpu_kernels_for(const at::Tensor& x);

/// What libconclave_cuda.so exports under this name: a pointer to the only instance.
inline constexpr const char* gpu_kernels_symbol = "conclave_gpu_kernels";

} // namespace conclave::ops
