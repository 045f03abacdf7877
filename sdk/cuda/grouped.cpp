// Grouped products.

#include "grouped.hpp"

#include <ATen/ops/empty.h>

#include "kernels.hpp"

namespace conclave::cuda {

#ifdef CONCLAVE_HAS_CUTLASS

namespace {

GroupedShape shape_of(const at::Tensor& rows, const at::Tensor& ends, std::int64_t inner, std::int64_t columns) {
  TORCH_CHECK(rows.scalar_type() == at::kBFloat16 || rows.scalar_type() == at::kHalf,
              "grouped products are of bf16 or fp16, not ", rows.scalar_type());
  TORCH_CHECK(ends.scalar_type() == at::kInt, "ends are int32");
  TORCH_CHECK(inner % 8 == 0 && columns % 8 == 0, inner, " and ", columns, " are to be multiples of 8");
  return {type_of(rows), rows.size(0), ends.size(0), columns, inner};
}

at::Tensor scratch_for(const GroupedShape& shape, const at::Tensor& like) {
  return at::empty({grouped_scratch_bytes(shape.groups)}, like.options().dtype(at::kByte));
}

} // namespace

bool Kernels::has_grouped() const { return true; }
bool Kernels::prefers_grouped_product(at::ScalarType type) const {
  return type == at::kHalf || (type == at::kBFloat16 && !has_wgmma());
}

void Kernels::grouped_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& ends, bool transposed,
                              const at::Tensor& y) const {
  CONCLAVE_KERNEL("grouped_product", x, weight, ends, y);
  const GroupedShape shape = shape_of(x, ends, x.size(1), y.size(1));
  if (shape.rows == 0) return;
  const at::Tensor scratch = scratch_for(shape, x);
  cuda::grouped_product(shape, data(x), data(weight), static_cast<const std::int32_t*>(data(ends)), transposed,
                        mutable_data(y), mutable_data(scratch), current_stream());
  check_launch();
}

void Kernels::grouped_weight_gradient(const at::Tensor& left, const at::Tensor& right, const at::Tensor& ends,
                                      const at::Tensor& out, bool accumulate) const {
  CONCLAVE_KERNEL("grouped_weight_gradient", left, right, ends, out);
  const GroupedShape shape = shape_of(left, ends, left.size(1), right.size(1));
  if (shape.rows == 0) {
    if (!accumulate) out.zero_();
    return;
  }
  const at::Tensor scratch = scratch_for(shape, left);
  cuda::grouped_weight_gradient(shape, data(left), data(right), static_cast<const std::int32_t*>(data(ends)),
                                mutable_floats(out), accumulate, mutable_data(scratch), current_stream());
  check_launch();
}

#else

bool Kernels::has_grouped() const { return false; }
bool Kernels::prefers_grouped_product(at::ScalarType) const { return false; }
void Kernels::grouped_product(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool, const at::Tensor&) const {
  TORCH_CHECK(false, "built without CUTLASS");
}
void Kernels::grouped_weight_gradient(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                      bool) const {
  TORCH_CHECK(false, "built without CUTLASS");
}

#endif

} // namespace conclave::cuda
