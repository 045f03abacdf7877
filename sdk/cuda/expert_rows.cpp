// Rows by expert, and SwiGLU over them.

#include "expert_rows.hpp"

#include <ATen/ops/empty.h>

#include "kernels.hpp"

namespace conclave::cuda {
namespace {

const std::int64_t* indices(const at::Tensor& x) {
  TORCH_CHECK(x.scalar_type() == at::kLong, "indices are int64");
  return static_cast<const std::int64_t*>(data(x));
}

RowShape shape_of(const at::Tensor& x) { return {type_of(x), x.size(0), x.size(1)}; }

RowWeights row_weights(const ops::GpuKernels::RowWeights& in) {
  if (!in.weights.defined()) return {};
  return {floats(in.weights), indices(in.pair)};
}

} // namespace

void Kernels::sort_by_expert(const at::Tensor& experts, const at::Tensor& pair, const at::Tensor& source,
                             const at::Tensor& position, const at::Tensor& ends) const {
  CONCLAVE_KERNEL("sort_by_expert", experts, pair, source, position, ends);
  const std::int64_t pairs = experts.numel(), count = ends.numel();
  TORCH_CHECK(count <= most_experts, count, " experts are more than the sort takes");
  const at::Tensor counts = at::empty({sort_blocks(pairs) * count}, ends.options());
  cuda::sort_by_expert(indices(experts), pairs, experts.size(-1), static_cast<int>(count),
                       static_cast<std::int32_t*>(mutable_data(counts)), static_cast<std::int64_t*>(mutable_data(pair)),
                       static_cast<std::int64_t*>(mutable_data(source)),
                       static_cast<std::int64_t*>(mutable_data(position)),
                       static_cast<std::int32_t*>(mutable_data(ends)), current_stream());
  check_launch();
}

void Kernels::gather_rows(const at::Tensor& from, const at::Tensor& source, const at::Tensor& to) const {
  CONCLAVE_KERNEL("gather_rows", to, to, source);
  cuda::gather_rows(shape_of(to), data(from), indices(source), mutable_data(to), current_stream());
  check_launch();
}

void Kernels::sum_choices(const at::Tensor& from, const at::Tensor& position, const at::Tensor& addend,
                          const at::Tensor& to) const {
  CONCLAVE_KERNEL("sum_choices", from, position, addend, to);
  cuda::sum_choices(shape_of(to), data(from), indices(position), position.size(1), data(addend), mutable_data(to),
                    current_stream());
  check_launch();
}

void Kernels::swiglu(const at::Tensor& x, const RowWeights& in, const at::Tensor& y) const {
  CONCLAVE_KERNEL("swiglu", x, in.weights, y);
  cuda::swiglu(shape_of(y), data(x), row_weights(in), mutable_data(y), current_stream());
  check_launch();
}

void Kernels::swiglu_backward(const at::Tensor& dy, const at::Tensor& x, const RowWeights& in, const at::Tensor& dx,
                              const at::Tensor& y, const at::Tensor& dweights) const {
  CONCLAVE_KERNEL("swiglu_backward", dy, x, in.weights, dx, y, dweights);
  cuda::swiglu_backward(shape_of(dy), data(dy), data(x), row_weights(in), mutable_data(dx), mutable_data(y),
                        mutable_floats(dweights), current_stream());
  check_launch();
}

} // namespace conclave::cuda
