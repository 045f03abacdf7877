// attention and head_gate: the CPU kernels for fp32 and fp64, our CUDA kernels where they serve; elsewhere ATen's.

#include "conclave/ops/attention.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros_like.h>

#include "cpu_kernels.hpp"
#include "function.hpp"
#include "gpu_attention.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

cpu::AttentionShape shape_of(const at::Tensor& query, const at::Tensor& key, std::int64_t window,
                             const at::Tensor& segments) {
  return {query.size(0),
          query.size(1),
          query.size(2),
          key.size(2),
          query.size(3),
          window,
          segments.defined() ? segments.const_data_ptr<std::int32_t>() : nullptr};
}

struct CpuAttention : Function<CpuAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const std::optional<at::Tensor>& segment_ids,
                            std::int64_t window) {
    const at::Tensor segments = or_undefined(segment_ids);
    const at::Tensor q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
    const at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options());
    at::Tensor out = at::empty_like(q);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "attention", [&] {
      cpu::attention_forward(shape_of(q, k, window, segments), q.const_data_ptr<scalar_t>(),
                             k.const_data_ptr<scalar_t>(), v.const_data_ptr<scalar_t>(),
                             out.mutable_data_ptr<scalar_t>(), lse.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({q, k, v, segments, out, lse});
    keep(context, window);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &segments = saved[3], &out = saved[4],
                     &lse = saved[5];
    const at::Tensor dout = gradients[0].contiguous();
    const at::Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "attention_backward", [&] {
      cpu::attention_backward(shape_of(q, k, kept<std::int64_t>(context), segments), q.const_data_ptr<scalar_t>(),
                              k.const_data_ptr<scalar_t>(), v.const_data_ptr<scalar_t>(),
                              out.const_data_ptr<scalar_t>(), lse.const_data_ptr<scalar_t>(),
                              dout.const_data_ptr<scalar_t>(), dq.mutable_data_ptr<scalar_t>(),
                              dk.mutable_data_ptr<scalar_t>(), dv.mutable_data_ptr<scalar_t>());
    });
    return {dq, dk, dv, at::Tensor{}, at::Tensor{}};
  }
};

struct CpuHeadGate : Function<CpuHeadGate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& gate) {
    const at::Tensor x = input.contiguous(), logits = gate.contiguous();
    at::Tensor y = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "head_gate", [&] {
      cpu::gate_forward(x.const_data_ptr<scalar_t>(), logits.const_data_ptr<scalar_t>(), logits.numel(), x.size(-1),
                        y.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({x, logits});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &logits = saved[1], dy = gradients[0].contiguous();
    const at::Tensor dx = at::empty_like(x), dlogits = at::empty_like(logits);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "head_gate_backward", [&] {
      cpu::gate_backward(dy.const_data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(), logits.const_data_ptr<scalar_t>(),
                         logits.numel(), x.size(-1), dx.mutable_data_ptr<scalar_t>(),
                         dlogits.mutable_data_ptr<scalar_t>());
    });
    return {dx, dlogits};
  }
};

struct GpuHeadGate : Function<GpuHeadGate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& gate) {
    const at::Tensor x = input.contiguous(), logits = gate.contiguous();
    at::Tensor y = at::empty_like(x);
    gpu_kernels()->head_gate(x, logits, y);
    context->save_for_backward({x, logits});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &logits = saved[1];
    const at::Tensor dx = at::empty_like(x), dlogits = at::empty_like(logits);
    gpu_kernels()->head_gate_backward(gradients[0].contiguous(), x, logits, dx, dlogits);
    return {dx, dlogits};
  }
};

/// Flash attention takes a window by itself, in bf16 and fp16.
bool flash_takes_window(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf);
}

/// What each query of `length` sees, on the device of `like`.
at::Tensor dense_mask(const at::Tensor& like, std::int64_t length, const AttentionMask& mask) {
  const at::Tensor position = at::arange(length, like.options().dtype(at::kLong).requires_grad(false));
  const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0); // query - key
  at::Tensor sees = distance.ge(0);
  if (mask.window > 0) sees = sees.logical_and(distance.lt(mask.window));
  sees = sees.view({1, 1, length, length});
  if (!mask.segment_ids.defined()) return sees;
  return sees.logical_and(mask.segment_ids.unsqueeze(1).unsqueeze(3).eq(mask.segment_ids.unsqueeze(1).unsqueeze(2)));
}

at::Tensor aten_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const at::Tensor& sees) {
  const bool grouped = query.size(2) != key.size(2);
  const at::Tensor out =
      at::scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
                                       optional_input(sees), 0.0, !sees.defined(), std::nullopt, grouped);
  return out.transpose(1, 2)
      .contiguous(); // flash and cuDNN answer in the queries' layout: no copy then, nor on the way back
}

} // namespace

AttentionMask make_attention_mask(const at::Tensor& like, const at::Tensor& segment_ids, std::int64_t window) {
  AttentionMask mask{window, segment_ids, {}, {}, {}};
  const std::int64_t length = like.size(1);
  if (window >= length) mask.window = 0; // sees all there is
  if (has_cpu_kernel(like)) {
    if (segment_ids.defined()) mask.segment_ids = segment_ids.to(at::kInt).contiguous();
    return mask;
  }
  if (segment_ids.defined() ? find_segments_on_gpu(like, mask) : mask.window == 0 || flash_takes_window(like))
    return mask;
  mask.dense = dense_mask(like, length, mask);
  return mask;
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionMask& mask) {
  const bool same_width = query.size(3) == value.size(3);
  if (has_cpu_kernel(query) && same_width)
    return CpuAttention::apply(query, key, value, optional_input(mask.segment_ids), mask.window);
  if (const auto out = attention_on_gpu(query, key, value, mask)) return *out;
  if (mask.dense.defined()) return aten_attention(query, key, value, mask.dense);
  if (!mask.segment_ids.defined() && mask.window == 0) return aten_attention(query, key, value, {});
  if (!mask.segment_ids.defined() && flash_takes_window(query) && same_width) {
    return std::get<0>(at::_flash_attention_forward(query, key, value, {}, {}, query.size(1), key.size(1), 0.0, true,
                                                    false, std::nullopt, mask.window - 1, 0));
  }
  return aten_attention(query, key, value, dense_mask(query, query.size(1), mask)); // heads that no kernel takes
}

at::Tensor head_gate(const at::Tensor& x, const at::Tensor& logits) {
  if (logits.scalar_type() == x.scalar_type()) {
    if (has_cpu_kernel(x)) return CpuHeadGate::apply(x, logits);
    if (gpu_kernels_for(x) != nullptr) return GpuHeadGate::apply(x, logits);
  }
  const at::Tensor gate = at::sigmoid(logits.to(accumulation_type(x.scalar_type()))).mul(2);
  return x * gate.to(x.scalar_type()).unsqueeze(-1);
}

} // namespace conclave::ops
