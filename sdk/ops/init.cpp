// Initial values of parameters: walks a ParamSpec's pieces and draws from one random stream for each global name.

#include "conclave/init.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "conclave/random.hpp"
#include "gpu_kernels.hpp"

namespace conclave {
namespace {

std::int64_t product(const std::vector<std::int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

bool box_fits(const Box& box, const std::vector<std::int64_t>& shape) {
  if (box.offset.size() != shape.size() || box.size.size() != shape.size()) return false;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (box.offset[axis] < 0 || box.size[axis] < 0 || box.offset[axis] + box.size[axis] > shape[axis]) return false;
  }
  return true;
}

/// Row-major index within `shape` of the i-th element of `box`.
std::int64_t index_in(const Box& box, const std::vector<std::int64_t>& shape, std::int64_t i) {
  std::int64_t index = 0, stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    index += (box.offset[axis] + i % box.size[axis]) * stride;
    i /= box.size[axis];
    stride *= shape[axis];
  }
  return index;
}

void fill_piece(const ParamSpec& spec, const ParamPiece& piece, std::uint64_t seed, double* out) {
  const std::int64_t count = product(piece.global.size);
  if (count == 0 || spec.init.kind == InitKind::zeros) return;
  const RandomStream stream(seed, piece.name);
  // Both boxes list the same elements in the same order; within a row of both, indices run by one.
  const bool same_rows =
      !piece.global.size.empty() && !piece.local.size.empty() && piece.global.size.back() == piece.local.size.back();
  const std::int64_t run = same_rows ? piece.global.size.back() : 1;
  at::parallel_for(0, count / run, std::max<std::int64_t>(1, 4096 / run), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t from = index_in(piece.global, piece.global_shape, row * run);
      double* to = out + index_in(piece.local, spec.shape, row * run);
      for (std::int64_t i = 0; i < run; ++i) {
        to[i] = spec.init.kind == InitKind::constant
                    ? spec.init.scale
                    : spec.init.scale * stream.normal(static_cast<std::uint64_t>(from + i));
      }
    }
  });
}

ops::GpuKernels::BoxOf box_of(const Box& box, const std::vector<std::int64_t>& shape) {
  ops::GpuKernels::BoxOf result{};
  result.axes = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), result.shape.begin());
  std::copy(box.offset.begin(), box.offset.end(), result.offset.begin());
  std::copy(box.size.begin(), box.size.end(), result.size.begin());
  return result;
}

/// False: not possible here, and nothing was done.
bool fill_on_gpu(const ParamSpec& spec, std::uint64_t seed, const at::Tensor& out) {
  if (!out.is_cuda() || !out.is_contiguous()) return false;
  const ops::GpuKernels* const kernels = ops::gpu_kernels();
  constexpr std::size_t most_axes = std::tuple_size_v<decltype(ops::GpuKernels::BoxOf::shape)>;
  if (kernels == nullptr || spec.init.kind == InitKind::constant || spec.shape.size() > most_axes) return false;
  for (const ParamPiece& piece : spec.pieces)
    if (piece.global_shape.size() > most_axes) return false;
  out.zero_();
  if (spec.init.kind == InitKind::zeros) return true;
  for (const ParamPiece& piece : spec.pieces)
    kernels->fill_normal(out, box_of(piece.local, spec.shape), box_of(piece.global, piece.global_shape),
                         RandomStream(seed, piece.name).state(), spec.init.scale);
  return true;
}

} // namespace

Status fill_parameter(const ParamSpec& spec, std::uint64_t seed, const at::Tensor& out) {
  const at::NoGradGuard no_grad;
  if (out.sizes() != at::IntArrayRef(spec.shape))
    return internal_error("storage has another shape than the spec", spec.name);
  for (const ParamPiece& piece : spec.pieces) {
    if (!box_fits(piece.global, piece.global_shape) || !box_fits(piece.local, spec.shape) ||
        product(piece.global.size) != product(piece.local.size)) {
      return internal_error("the boxes of piece " + piece.name + " do not fit its shapes", spec.name);
    }
  }
  if (fill_on_gpu(spec, seed, out)) return {};
  const at::Tensor values = at::zeros(spec.shape, at::kDouble);
  for (const ParamPiece& piece : spec.pieces) fill_piece(spec, piece, seed, values.mutable_data_ptr<double>());
  out.copy_(values);
  return {};
}

} // namespace conclave
