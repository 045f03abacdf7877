// split_rotary.

#include "rotary.hpp"

#include <ATen/ops/empty.h>

#include "kernels.hpp"
#include "norm.hpp"

namespace conclave::cuda {
namespace {

/// From what attention takes: query [.., H, W] and key [.., G, W].
RotaryShape rotary_shape(const at::Tensor& query, const at::Tensor& key, const ops::GpuKernels::RotaryInputs& in) {
  return {type_of(query), in.positions.numel(), query.size(-2), key.size(-2), query.size(-1), in.cos.size(0)};
}

RotaryInputs rotary_inputs(const at::Tensor& qkv, const ops::GpuKernels::RotaryInputs& in) {
  TORCH_CHECK(in.positions.scalar_type() == at::kLong, "int64 positions are needed here, not ",
              in.positions.scalar_type());
  return {data(qkv),
          static_cast<const std::int64_t*>(data(in.positions)),
          floats(in.cos),
          floats(in.sin),
          floats(in.query_weight),
          floats(in.key_weight),
          static_cast<float>(in.eps)};
}

} // namespace

void Kernels::split_rotary(const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& query,
                           const at::Tensor& key, const at::Tensor& value) const {
  CONCLAVE_KERNEL("split_rotary", qkv, in.positions, query, key, value);
  const RotaryShape shape = rotary_shape(query, key, in);
  if (shape.tokens == 0) return;
  cuda::split_rotary(shape, rotary_inputs(qkv, in), mutable_data(query), mutable_data(key), mutable_data(value),
                     current_stream());
  check_launch();
}

void Kernels::split_rotary_backward(const at::Tensor& dquery, const at::Tensor& dkey, const at::Tensor& dvalue,
                                    const at::Tensor& qkv, const RotaryInputs& in, const at::Tensor& dqkv,
                                    const WeightGradient& dquery_weight, const WeightGradient& dkey_weight) const {
  CONCLAVE_KERNEL("split_rotary_backward", dquery, dkey, dvalue, qkv, in.positions, dqkv);
  const RotaryShape shape = rotary_shape(dquery, dkey, in);
  const bool normed = in.query_weight.defined();
  if (shape.tokens == 0) {
    for (const WeightGradient* gradient : {&dquery_weight, &dkey_weight})
      if (normed && !gradient->accumulate) gradient->sum.zero_();
    return;
  }
  const RotaryBlocks blocks = rotary_backward_blocks(shape, normed);
  const at::Tensor partial = at::empty({normed ? blocks.queries + blocks.keys : 0, shape.head_width}, in.cos.options());
  float* const query_partial = mutable_floats(partial);
  float* const key_partial = query_partial + blocks.queries * shape.head_width;
  cuda::split_rotary_backward(shape, rotary_inputs(qkv, in), blocks, data(dquery), data(dkey), data(dvalue),
                              mutable_data(dqkv), query_partial, key_partial, current_stream());
  if (normed) {
    sum_rows({query_partial, blocks.queries, mutable_floats(dquery_weight.sum), dquery_weight.accumulate},
             {key_partial, blocks.keys, mutable_floats(dkey_weight.sum), dkey_weight.accumulate}, shape.head_width,
             current_stream());
  }
  check_launch();
}

} // namespace conclave::cuda
