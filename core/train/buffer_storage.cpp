// Allocation of buffers.

#include "train/buffer_storage.hpp"

#include <ATen/ops/zeros.h>

#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "train/storage.hpp"

namespace conclave::train {
namespace {

/// Elements, up to where the next buffer of the flat tensor may start.
std::int64_t extent(const BufferSpec& spec) {
  const auto n = std::accumulate(spec.shape.begin(), spec.shape.end(), std::int64_t{1}, std::multiplies<>());
  return (n + alignment - 1) / alignment * alignment;
}

} // namespace

BufferStorage::BufferStorage(const StageDescription& description, at::Device device) {
  std::map<at::ScalarType, std::int64_t> size;
  for (const BufferSpec& spec : description.buffers)
    if (spec.use == BufferUse::counter) size[spec.dtype] += extent(spec);
  std::map<at::ScalarType, std::pair<at::Tensor, std::int64_t>> flat; // and what of it is given away
  for (const auto& [type, elements] : size) {
    flat_.push_back(at::zeros({elements}, at::TensorOptions().device(device).dtype(type)));
    flat[type] = {flat_.back(), 0};
  }
  for (const BufferSpec& spec : description.buffers) {
    if (spec.use == BufferUse::state) {
      tensors_.push_back(at::zeros(spec.shape, at::TensorOptions().device(device).dtype(spec.dtype)));
      continue;
    }
    auto& [storage, used] = flat[spec.dtype];
    const auto n = std::accumulate(spec.shape.begin(), spec.shape.end(), std::int64_t{1}, std::multiplies<>());
    tensors_.push_back(storage.narrow(0, used, n).view(spec.shape));
    used += extent(spec);
    counters_.push_back({&spec, tensors_.back()});
  }
}

void BufferStorage::zero_counters() {
  for (at::Tensor& counter : flat_) counter.zero_();
}

} // namespace conclave::train
