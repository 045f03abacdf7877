// Boxes of flat ranges, and the way of a local box into the named parameter's coordinates.

#include "checkpoint/flat_ranges.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>

namespace conclave {
namespace {

using Extents = std::vector<std::int64_t>;

std::int64_t product(const Extents& shape, std::size_t from) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(from), shape.end(), std::int64_t{1},
                         std::multiplies<>());
}

/// Of a contiguous tensor.
Extents row_major_strides(const Extents& shape) {
  Extents strides(shape.size(), 1);
  for (std::size_t axis = shape.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

/// Appends the boxes of [begin, end) of what `at` leaves open: axes before `axis` are fixed by at.offset.
void append_boxes(const Extents& shape, std::size_t axis, std::int64_t begin, std::int64_t end, Box at,
                  std::vector<Box>& boxes) {
  if (begin >= end) return;
  if (axis == shape.size()) {
    boxes.push_back(std::move(at));
    return;
  }
  const std::int64_t row = product(shape, axis + 1);
  const auto rows = [&](std::int64_t first, std::int64_t count) { // whole ones
    if (count <= 0) return;
    Box box = at;
    box.offset[axis] = first;
    box.size[axis] = count;
    for (std::size_t inner = axis + 1; inner < shape.size(); ++inner) box.size[inner] = shape[inner];
    boxes.push_back(std::move(box));
  };
  const auto part = [&](std::int64_t of_row, std::int64_t from, std::int64_t to) {
    Box box = at;
    box.offset[axis] = of_row;
    append_boxes(shape, axis + 1, from, to, std::move(box), boxes);
  };
  const std::int64_t first = begin / row, last = end / row; // `last` holds the end, and nothing when it begins there
  if (first == last) return part(first, begin % row, end % row);
  const bool cut = begin % row != 0;
  if (cut) part(first, begin % row, row);
  rows(first + cut, last - first - cut);
  part(last, 0, end % row);
}

std::optional<Box> intersection(const Box& a, const Box& b) {
  Box common;
  for (std::size_t axis = 0; axis < a.offset.size(); ++axis) {
    const std::int64_t begin = std::max(a.offset[axis], b.offset[axis]);
    const std::int64_t end = std::min(a.offset[axis] + a.size[axis], b.offset[axis] + b.size[axis]);
    if (begin >= end) return std::nullopt;
    common.offset.push_back(begin);
    common.size.push_back(end - begin);
  }
  return common;
}

constexpr std::size_t no_axis = static_cast<std::size_t>(-1);

/// For each axis of the global box the local axis that runs along it; no_axis for an axis of size 1. Nothing when the
/// boxes have other sizes.
std::optional<std::vector<std::size_t>> match_axes(const ParamPiece& piece) {
  std::vector<std::size_t> axes;
  std::size_t local = 0;
  const auto skip_ones = [&] {
    while (local < piece.local.size.size() && piece.local.size[local] == 1) ++local;
  };
  for (const std::int64_t size : piece.global.size) {
    if (size == 1) {
      axes.push_back(no_axis);
      continue;
    }
    skip_ones();
    if (local == piece.local.size.size() || piece.local.size[local] != size) return std::nullopt;
    axes.push_back(local++);
  }
  skip_ones();
  if (local != piece.local.size.size()) return std::nullopt;
  return axes;
}

bool has_axes(const Box& box, const Extents& shape) {
  return box.offset.size() == shape.size() && box.size.size() == shape.size();
}

} // namespace

std::vector<Box> boxes_of_range(const Extents& shape, std::int64_t begin, std::int64_t end) {
  std::vector<Box> boxes;
  append_boxes(shape, 0, begin, end, Box{Extents(shape.size(), 0), Extents(shape.size(), 1)}, boxes);
  return boxes;
}

Result<std::vector<TensorShard>> shards_of_range(const ParamSpec& spec, std::int64_t begin, const at::Tensor& values) {
  const std::int64_t end = begin + values.numel();
  if (values.dim() != 1 || !values.is_contiguous() || begin < 0 || end > product(spec.shape, 0))
    return internal_error("elements " + std::to_string(begin) + " to " + std::to_string(end) +
                          " are no flat range of parameter `" + spec.name + "`");
  const Extents strides = row_major_strides(spec.shape);
  const std::vector<Box> ranges = boxes_of_range(spec.shape, begin, end);
  std::vector<TensorShard> shards;
  for (const ParamPiece& piece : spec.pieces) {
    const auto axes = match_axes(piece);
    if (!axes || !has_axes(piece.local, spec.shape) || !has_axes(piece.global, piece.global_shape))
      return internal_error("the local and the global box of `" + piece.name + "` in parameter `" + spec.name +
                            "` have different sizes");
    for (const Box& range : ranges) {
      const auto local = intersection(range, piece.local);
      if (!local) continue;
      std::int64_t first = values.storage_offset() - begin;
      for (std::size_t axis = 0; axis < strides.size(); ++axis) first += local->offset[axis] * strides[axis];
      TensorShard shard{piece.name, piece.global_shape, piece.global.offset, {}};
      Extents size, stride;
      for (std::size_t axis = 0; axis < axes->size(); ++axis) {
        const std::size_t from = (*axes)[axis];
        if (from != no_axis) shard.offset[axis] += local->offset[from] - piece.local.offset[from];
        size.push_back(from == no_axis ? 1 : local->size[from]);
        stride.push_back(from == no_axis ? 1 : strides[from]);
      }
      shard.value = values.as_strided(size, stride, first);
      shards.push_back(std::move(shard));
    }
  }
  return shards;
}

} // namespace conclave
