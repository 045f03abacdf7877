// split_rotary: the CPU kernel for fp32 and fp64, our CUDA kernels, ATen's operators elsewhere.

#include "conclave/ops/rotary.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

#include "conclave/ops/rms_norm.hpp"
#include "cpu_kernels.hpp"
#include "function.hpp"
#include "gpu_kernels.hpp"

namespace conclave::ops {
namespace {

/// Pairs (low, high) as complex numbers, in the accumulation type: x [..., D] -> [..., D / 2].
at::Tensor pairs_of(const at::Tensor& x) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor halves = x.unflatten(-1, {2, half}).transpose(-1, -2);
  at::Tensor pairs = at::empty(halves.sizes(), x.options().dtype(accumulation_type(x.scalar_type())));
  pairs.copy_(halves);
  return at::view_as_complex(pairs);
}

/// Turns every pair of x [B, S, H, D] by `turn` [B, S, 1, D / 2], unit complex numbers; one rounding to x's type at the end.
at::Tensor turned(const at::Tensor& x, const at::Tensor& turn) {
  at::Tensor y = at::empty(x.sizes(), x.options());
  y.unflatten(-1, {2, x.size(-1) / 2}).transpose(-1, -2).copy_(at::view_as_real(pairs_of(x).mul_(turn)));
  return y;
}

struct Rotate : Function<Rotate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& turn) {
    context->save_for_backward({turn});
    return turned(x, turn);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {turned(gradients[0], context->get_saved_variables()[0].conj()), at::Tensor{}};
  }
};

struct RotaryState {
  cpu::RotaryShape shape;
  std::int64_t batch = 0;
  double eps = 0;
  GradSink *query = nullptr, *key = nullptr;
};

/// The kernel's view of the tensors; weights are undefined without a norm.
template <class T>
cpu::RotaryInputs<T> inputs_of(const at::Tensor& qkv, const at::Tensor& positions, const at::Tensor& cos,
                               const at::Tensor& sin, const at::Tensor& query_weight, const at::Tensor& key_weight,
                               double eps) {
  return {qkv.const_data_ptr<T>(),
          positions.const_data_ptr<std::int64_t>(),
          cos.const_data_ptr<T>(),
          sin.const_data_ptr<T>(),
          query_weight.defined() ? query_weight.const_data_ptr<T>() : nullptr,
          key_weight.defined() ? key_weight.const_data_ptr<T>() : nullptr,
          eps};
}

struct CpuSplitRotary : Function<CpuSplitRotary> {
  static variable_list forward(AutogradContext* context, const at::Tensor& qkv,
                               const std::optional<at::Tensor>& query_norm, const std::optional<at::Tensor>& key_norm,
                               const at::Tensor& positions, const RotaryTable& table, const RotaryState& state) {
    const at::Tensor query_weight = or_undefined(query_norm), key_weight = or_undefined(key_norm);
    const cpu::RotaryShape& s = state.shape;
    const std::int64_t length = s.tokens / state.batch;
    const at::Tensor query = at::empty({state.batch, length, s.heads, s.head_width}, qkv.options());
    const at::Tensor key = at::empty({state.batch, length, s.kv_heads, s.head_width}, qkv.options());
    const at::Tensor value = at::empty_like(key);
    const bool normed = query_weight.defined();
    const at::Tensor scale = at::empty({normed ? s.tokens * (s.heads + s.kv_heads) : 0}, qkv.options());
    AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "split_rotary", [&] {
      cpu::rotary_forward(
          s, inputs_of<scalar_t>(qkv, positions, table.cos, table.sin, query_weight, key_weight, state.eps),
          query.mutable_data_ptr<scalar_t>(), key.mutable_data_ptr<scalar_t>(), value.mutable_data_ptr<scalar_t>(),
          scale.mutable_data_ptr<scalar_t>());
    });
    // The projection itself is needed again only to go back through the norm.
    context->save_for_backward({normed ? qkv : at::empty({0}, qkv.options()), query_weight, key_weight, positions,
                                table.cos, table.sin, scale});
    keep(context, state);
    return {query, key, value};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &qkv = saved[0], &query_weight = saved[1], &key_weight = saved[2], &scale = saved[6];
    const auto& state = kept<RotaryState>(context);
    const cpu::RotaryShape& s = state.shape;
    const bool normed = query_weight.defined();
    const at::Tensor dquery = gradients[0].contiguous(), dkey = gradients[1].contiguous(),
                     dvalue = gradients[2].contiguous();
    const at::Tensor dqkv = at::empty({state.batch, s.tokens / state.batch, s.row()}, dquery.options());
    const at::Tensor partial =
        at::zeros({2, normed ? cpu::reduction_blocks(s.tokens) : 0, s.head_width}, dquery.options());
    AT_DISPATCH_FLOATING_TYPES(dquery.scalar_type(), "split_rotary_backward", [&] {
      scalar_t* dweights = partial.mutable_data_ptr<scalar_t>();
      cpu::rotary_backward(
          s, inputs_of<scalar_t>(qkv, saved[3], saved[4], saved[5], query_weight, key_weight, state.eps),
          scale.const_data_ptr<scalar_t>(), dquery.const_data_ptr<scalar_t>(), dkey.const_data_ptr<scalar_t>(),
          dvalue.const_data_ptr<scalar_t>(), dqkv.mutable_data_ptr<scalar_t>(), normed ? dweights : nullptr,
          normed ? dweights + partial.numel() / 2 : nullptr);
    });
    at::Tensor dquery_weight, dkey_weight;
    if (normed) {
      dquery_weight = deliver(state.query, partial.select(0, 0).sum(0));
      dkey_weight = deliver(state.key, partial.select(0, 1).sum(0));
    }
    return {dqkv, dquery_weight, dkey_weight, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

/// On a GPU, with our kernels. The norms' scales are computed again on the way back: their input must be read there anyway.
struct GpuSplitRotary : Function<GpuSplitRotary> {
  static variable_list forward(AutogradContext* context, const at::Tensor& qkv,
                               const std::optional<at::Tensor>& query_norm, const std::optional<at::Tensor>& key_norm,
                               const at::Tensor& positions, const RotaryTable& table, const RotaryState& state) {
    const at::Tensor query_weight = or_undefined(query_norm), key_weight = or_undefined(key_norm);
    const cpu::RotaryShape& s = state.shape;
    const std::int64_t length = qkv.size(1);
    const at::Tensor query = at::empty({state.batch, length, s.heads, s.head_width}, qkv.options());
    const at::Tensor key = at::empty({state.batch, length, s.kv_heads, s.head_width}, qkv.options());
    const at::Tensor value = at::empty_like(key);
    gpu_kernels()->split_rotary(qkv, {positions, table.cos, table.sin, query_weight, key_weight, state.eps}, query, key,
                                value);
    context->save_for_backward(
        {query_weight.defined() ? qkv : at::Tensor{}, query_weight, key_weight, positions, table.cos, table.sin});
    keep(context, state);
    return {query, key, value};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &query_weight = saved[1], &key_weight = saved[2];
    const auto& state = kept<RotaryState>(context);
    const cpu::RotaryShape& s = state.shape;
    // Attention gives its gradients the layout of its inputs: nothing is copied here.
    const at::Tensor dquery = gradients[0].contiguous(), dkey = gradients[1].contiguous(),
                     dvalue = gradients[2].contiguous();
    const at::Tensor dqkv = at::empty({state.batch, dquery.size(1), s.row()}, dquery.options());
    const auto dquery_weight = gradient_for(state.query, query_weight),
               dkey_weight = gradient_for(state.key, key_weight);
    gpu_kernels()->split_rotary_backward(dquery, dkey, dvalue, saved[0],
                                         {saved[3], saved[4], saved[5], query_weight, key_weight, state.eps}, dqkv,
                                         dquery_weight, dkey_weight);
    return {
        dqkv,        written(state.query, dquery_weight), written(state.key, dkey_weight), at::Tensor{}, at::Tensor{},
        at::Tensor{}};
  }

 private:
  /// Where the kernel writes a weight's gradient: into its sink, or for autograd. Nowhere without a norm.
  static GpuKernels::WeightGradient gradient_for(const GradSink* sink, const at::Tensor& weight) {
    if (!weight.defined()) return {};
    return sink != nullptr ? GpuKernels::WeightGradient{sink->gradient, !sink->overwrite()}
                           : GpuKernels::WeightGradient{at::empty_like(weight)};
  }
  static at::Tensor written(GradSink* sink, const GpuKernels::WeightGradient& gradient) {
    if (sink == nullptr) return gradient.sum;
    sink->ready();
    return {};
  }
};

/// Whether GpuSplitRotary takes these heads: a lane of a warp takes a vector of each half.
bool has_gpu_kernel(const at::Tensor& qkv, std::int64_t head_width, const RotaryTable& table, const QkNorm* norm) {
  const std::int64_t bytes = head_width * static_cast<std::int64_t>(qkv.element_size());
  const auto is_wide = [](const at::Tensor& x) { return x.scalar_type() == at::kFloat; };
  return gpu_kernels_for(qkv) != nullptr && bytes % 32 == 0 && bytes <= 1024 && is_wide(table.cos) &&
         (norm == nullptr || (is_wide(norm->query.value) && is_wide(norm->key.value)));
}

} // namespace

RotaryTable make_rotary_table(std::int64_t length, std::int64_t head_width, double theta, at::ScalarType compute,
                              const at::Device& device) {
  const auto fp64 = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor exponents = at::arange(0, head_width, 2, fp64).div(-static_cast<double>(head_width));
  const at::Tensor angles = at::outer(at::arange(length, fp64), at::pow(theta, exponents));
  const auto target = at::TensorOptions().dtype(accumulation_type(compute)).device(device);
  return {angles.cos().to(target), angles.sin().to(target)};
}

Qkv split_rotary(const at::Tensor& qkv, std::int64_t heads, std::int64_t kv_heads, const at::Tensor& position_ids,
                 const RotaryTable& table, const QkNorm* norm) {
  const std::int64_t batch = qkv.size(0), length = qkv.size(1), width = qkv.size(2) / (heads + 2 * kv_heads);
  const bool one_type = norm == nullptr || norm->query.value.scalar_type() == qkv.scalar_type();
  const bool on_cpu = has_cpu_kernel(qkv) && one_type;
  if (on_cpu || has_gpu_kernel(qkv, width, table, norm)) {
    const RotaryState state{{batch * length, heads, kv_heads, width},
                            batch,
                            norm != nullptr ? norm->eps : 0,
                            norm != nullptr ? norm->query.sink : nullptr,
                            norm != nullptr ? norm->key.sink : nullptr};
    const at::Tensor joint = qkv.contiguous(), positions = position_ids.contiguous();
    const auto query_weight = optional_input(norm != nullptr ? norm->query.value : at::Tensor{});
    const auto key_weight = optional_input(norm != nullptr ? norm->key.value : at::Tensor{});
    if (!on_cpu) {
      const auto parts = GpuSplitRotary::apply(joint, query_weight, key_weight, positions, table, state);
      return {parts[0], parts[1], parts[2]};
    }
    TORCH_CHECK(positions.numel() == 0 || positions.max().item<std::int64_t>() < table.cos.size(0), "position ",
                positions.max().item<std::int64_t>(), " is beyond the model's ", table.cos.size(0), " positions");
    const auto parts = CpuSplitRotary::apply(joint, query_weight, key_weight, positions, table, state);
    return {parts[0], parts[1], parts[2]};
  }
  const at::Tensor all = qkv.view({batch, length, heads + 2 * kv_heads, width});
  const auto parts = all.split_with_sizes({heads, kv_heads, kv_heads}, 2);
  at::Tensor query = parts[0], key = parts[1];
  if (norm != nullptr) {
    query = rms_norm(query, norm->query, norm->eps);
    key = rms_norm(key, norm->key, norm->eps);
  }
  const at::Tensor positions = position_ids.reshape({-1});
  const at::Tensor turn = at::complex(table.cos.index_select(0, positions), table.sin.index_select(0, positions))
                              .view({batch, length, 1, width / 2});
  return {Rotate::apply(query, turn), Rotate::apply(key, turn), parts[2].contiguous()};
}

} // namespace conclave::ops
