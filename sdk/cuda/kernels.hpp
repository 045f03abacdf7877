// The binding: tensors to launchers. One class, a file for each family of operators.
#pragma once

#include <ATen/record_function.h>
#include <c10/cuda/CUDAStream.h>

#include "launch.hpp"
#include "ops/gpu_kernels.hpp"

namespace conclave::cuda {

class Kernels final : public ops::GpuKernels {
 public:
  void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& y,
                const at::Tensor& scale) const override;
  void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scale,
                         const at::Tensor& addend, const at::Tensor& dx, const at::Tensor& dweight,
                         bool accumulate) const override;

  // split_rotary, head_gate ---
  void split_rotary(const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& query, const at::Tensor& key,
                    const at::Tensor& value) const override;
  void split_rotary_backward(const at::Tensor& dquery, const at::Tensor& dkey, const at::Tensor& dvalue,
                             const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& dqkv,
                             const WeightGradient& dquery_weight, const WeightGradient& dkey_weight) const override;
  void head_gate(const at::Tensor& x, const at::Tensor& logits, const at::Tensor& y) const override;
  void head_gate_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& logits, const at::Tensor& dx,
                          const at::Tensor& dlogits) const override;

  // attention ---
  [[nodiscard]] bool has_attention() const override;
  [[nodiscard]] bool has_segments() const override;
  [[nodiscard]] Segments find_segments(const at::Tensor& segment_ids) const override;
  [[nodiscard]] bool takes_attention(const AttentionInputs& in) const override;
  void attention(const AttentionInputs& in, const at::Tensor& out, const at::Tensor& lse) const override;
  void attention_backward(const at::Tensor& dout, const AttentionInputs& in, const at::Tensor& out,
                          const at::Tensor& lse, const at::Tensor& dquery, const at::Tensor& dkey,
                          const at::Tensor& dvalue) const override;

  void sort_by_expert(const at::Tensor& experts, const at::Tensor& pair, const at::Tensor& source,
                      const at::Tensor& position, const at::Tensor& ends) const override;
  void gather_rows(const at::Tensor& from, const at::Tensor& source, const at::Tensor& to) const override;
  void sum_choices(const at::Tensor& from, const at::Tensor& position, const at::Tensor& addend,
                   const at::Tensor& to) const override;
  void swiglu(const at::Tensor& x, const RowWeights& in, const at::Tensor& y) const override;
  void swiglu_backward(const at::Tensor& dy, const at::Tensor& x, const RowWeights& in, const at::Tensor& dx,
                       const at::Tensor& y, const at::Tensor& dweights) const override;

  void cross_entropy(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& mask, double label_smoothing,
                     double z_loss, const at::Tensor& loss, const at::Tensor& nll,
                     const at::Tensor& gradient) const override;

  void route(const at::Tensor& logits, const RouteInputs& in, const RouteOutputs& out) const override;
  void route_backward(const at::Tensor& logits, const RouteInputs& in, const at::Tensor& experts,
                      const at::Tensor& slope, const RouteGradients& gradients,
                      const at::Tensor& dlogits) const override;
  void split_factor(const at::Tensor& x, Factor factor, const at::Tensor& parts) const override;
  void sum_parts(const at::Tensor& in, const at::Tensor& out, bool accumulate) const override;

  void adamw(const AdamWTensors& tensors, const AdamWScalars& scalars,
             const ops::AdamWCoefficients& coefficients) const override;
  void fill_normal(const at::Tensor& out, const BoxOf& local, const BoxOf& global, std::array<std::uint32_t, 4> stream,
                   double scale) const override;

  [[nodiscard]] bool has_grouped() const override;
  [[nodiscard]] bool prefers_grouped_product(at::ScalarType type) const override;
  void grouped_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& ends, bool transposed,
                       const at::Tensor& y) const override;
  void grouped_weight_gradient(const at::Tensor& left, const at::Tensor& right, const at::Tensor& ends,
                               const at::Tensor& out, bool accumulate) const override;
};

/// First in every method: shows a profiler the call and its tensors; `conclave profile` reckons bytes from them.
#define CONCLAVE_KERNEL(name, ...) RECORD_FUNCTION("conclave::" name, std::vector<c10::IValue>({__VA_ARGS__}))

/// Throws c10::Error for another type.
Type type_of(const at::Tensor& x);
/// Throws c10::Error when the tensor is not contiguous on a GPU: an operator's mistake.
const void* data(const at::Tensor& x);
void* mutable_data(const at::Tensor& x);
/// Null for an undefined tensor.
const float* floats(const at::Tensor& x);
float* mutable_floats(const at::Tensor& x);

inline cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }
/// Throws c10::Error when the last launch failed.
void check_launch();

} // namespace conclave::cuda
