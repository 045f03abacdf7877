// Initial values.

#include "init.hpp"

#include "kernels.hpp"

namespace conclave::cuda {

void Kernels::fill_normal(const at::Tensor& out, const BoxOf& local, const BoxOf& global,
                          std::array<std::uint32_t, 4> stream, double scale) const {
  CONCLAVE_KERNEL("fill_normal", out);
  FillNormal fill{};
  fill.out = mutable_data(out);
  fill.fp64 = out.scalar_type() == at::kDouble;
  fill.type = fill.fp64 ? Type::fp32 : type_of(out);
  fill.local = {local.shape, local.offset, local.size, local.axes};
  fill.global = {global.shape, global.offset, global.size, global.axes};
  fill.stream = stream;
  fill.scale = scale;
  cuda::fill_normal(fill, current_stream());
  check_launch();
}

} // namespace conclave::cuda
