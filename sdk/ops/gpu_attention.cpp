// attention with our CUDA kernels.

#include "gpu_attention.hpp"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

/// What a call keeps beside its tensors.
struct Rules {
  std::int64_t window = 0;
  bool deterministic = false;
};

struct GpuAttention : Function<GpuAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const std::optional<at::Tensor>& spans,
                            const std::optional<at::Tensor>& slots, const Rules& rules) {
    const GpuKernels::AttentionInputs in{
        query, key, value, rules.window, {or_undefined(spans), or_undefined(slots)}, rules.deterministic};
    const std::int64_t batch = query.size(0), length = query.size(1), heads = query.size(2);
    at::Tensor out = at::empty({batch, length, heads, value.size(3)}, query.options());
    const at::Tensor lse = at::empty({batch, heads, length}, query.options().dtype(at::kFloat));
    gpu_kernels()->attention(in, out, lse);
    context->save_for_backward({query, key, value, in.segments.spans, in.segments.slots, out, lse});
    keep(context, rules);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Rules& rules = kept<Rules>(context);
    const GpuKernels::AttentionInputs in{saved[0],           saved[1], saved[2], rules.window, {saved[3], saved[4]},
                                         rules.deterministic};
    const auto dense = [](const at::Tensor& x) { return at::empty(x.sizes(), x.options()); };
    const at::Tensor dquery = dense(in.query), dkey = dense(in.key), dvalue = dense(in.value);
    gpu_kernels()->attention_backward(gradients[0].contiguous(), in, saved[5], saved[6], dquery, dkey, dvalue);
    return {dquery, dkey, dvalue, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

bool is_half(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf; }

} // namespace

bool find_segments_on_gpu(const at::Tensor& like, AttentionMask& mask) {
  // cuDNN's deterministic backward pass keeps all scores, for every slot: a dense mask is less.
  if (!like.is_cuda() || !is_half(like) || at::globalContext().deterministicAlgorithms()) return false;
  const GpuKernels* const kernels = gpu_kernels();
  if (kernels == nullptr || !kernels->has_segments()) return false;
  const GpuKernels::Segments segments = kernels->find_segments(mask.segment_ids.to(at::kInt).contiguous());
  mask.spans = segments.spans;
  mask.slots = segments.slots;
  return true;
}

std::optional<at::Tensor> attention_on_gpu(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                           const AttentionMask& mask) {
  if (!query.is_cuda() || !is_half(query) || query.numel() == 0) return std::nullopt;
  if (mask.segment_ids.defined() && !mask.spans.defined()) return std::nullopt; // the dense mask says it
  const GpuKernels* const kernels = gpu_kernels();
  if (kernels == nullptr) return std::nullopt;
  const Rules rules{mask.window, at::globalContext().deterministicAlgorithms()};
  if (!kernels->takes_attention({query, key, value, rules.window, {mask.spans, mask.slots}, rules.deterministic}))
    return std::nullopt;
  return GpuAttention::apply(query, key, value, optional_input(mask.spans), optional_input(mask.slots), rules);
}

} // namespace conclave::ops
