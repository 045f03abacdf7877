// Layout, allocation and lookup of the flat storage.

#include "train/storage.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "conclave/init.hpp"

namespace conclave::train {
namespace {

std::int64_t count(std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

bool inside(const Box& box, const std::vector<std::int64_t>& shape) {
  if (box.offset.size() != shape.size() || box.size.size() != shape.size()) return false;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (box.offset[axis] < 0 || box.size[axis] < 0 || box.offset[axis] + box.size[axis] > shape[axis]) return false;
  return true;
}

Status check(const StageDescription& description) {
  std::set<std::string> names;
  for (const ParamSpec& spec : description.parameters) {
    if (!names.insert(spec.name).second) return internal_error("parameter `" + spec.name + "` is described twice");
    if (!spec.tied_with.empty())
      return unsupported("parameter `" + spec.name + "` is tied with `" + spec.tied_with + "` of another stage",
                         "this build runs a model as one stage: describe a tied parameter once");
    if (spec.pieces.empty()) return internal_error("parameter `" + spec.name + "` has no piece");
    for (const ParamPiece& piece : spec.pieces) {
      if (!inside(piece.local, spec.shape) || !inside(piece.global, piece.global_shape) ||
          count(piece.local.size) != count(piece.global.size))
        return internal_error("the boxes of piece `" + piece.name + "` of parameter `" + spec.name + "` do not fit");
    }
  }
  for (const BufferSpec& buffer : description.buffers)
    if (!names.insert(buffer.name).second) return internal_error("buffer `" + buffer.name + "` is described twice");
  return {};
}

using GroupKey = std::pair<DecayClass, std::vector<MeshDim>>;

GroupKey group_key(const ParamSpec& spec) {
  const std::set<MeshDim> dims(spec.grad_sum_over.begin(), spec.grad_sum_over.end());
  return {spec.decay, {dims.begin(), dims.end()}};
}

std::int64_t aligned(std::int64_t n) { return (n + alignment - 1) / alignment * alignment; }

} // namespace

at::Tensor local_box(const at::Tensor& local, const ParamPiece& piece) {
  at::Tensor view = local;
  for (std::size_t axis = 0; axis < piece.local.size.size(); ++axis)
    view = view.narrow(static_cast<std::int64_t>(axis), piece.local.offset[axis], piece.local.size[axis]);
  return view;
}

Result<std::unique_ptr<ParameterStorage>> ParameterStorage::make(const StageDescription& description,
                                                                 const StorageSettings& settings) {
  CONCLAVE_RETURN_IF_ERROR(check(description));
  std::unique_ptr<ParameterStorage> storage(new ParameterStorage);
  const bool copies = settings.compute != settings.master;
  for (const ParamSpec& spec : description.parameters) storage->slots_.emplace_back().spec = &spec;

  std::map<GroupKey, std::vector<ParameterSlot*>> groups;
  for (ParameterSlot& slot : storage->slots_) groups[group_key(*slot.spec)].push_back(&slot);
  for (auto& [key, members] : groups) {
    // Those with a compute copy first.
    std::stable_partition(members.begin(), members.end(),
                          [](const ParameterSlot* slot) { return !slot->spec->full_precision; });
    std::int64_t size = 0, compute_size = 0;
    for (ParameterSlot* slot : members) {
      slot->group = storage->groups_.size();
      slot->offset = size;
      size += aligned(count(slot->spec->shape));
      if (!slot->spec->full_precision) compute_size = size;
    }
    const auto master = at::TensorOptions().device(settings.device).dtype(settings.master);
    FlatGroup& group = storage->groups_.emplace_back();
    std::tie(group.decay, group.grad_sum_over) = key;
    group.master = at::zeros({size}, master);
    group.gradient = at::zeros({size}, master);
    if (copies && compute_size > 0) group.compute = at::zeros({compute_size}, master.dtype(settings.compute));
  }

  for (ParameterSlot& slot : storage->slots_) {
    const ParamSpec& spec = *slot.spec;
    const FlatGroup& group = storage->groups_[slot.group];
    auto view = [&](const at::Tensor& flat) { return flat.narrow(0, slot.offset, count(spec.shape)).view(spec.shape); };
    slot.master = view(group.master);
    slot.sink.gradient = view(group.gradient);
    slot.sink.expected = spec.contributions;
    CONCLAVE_RETURN_IF_ERROR(fill_parameter(spec, settings.seed, slot.master));
    // detach(): a leaf of its own over the same memory, which the optimizer changes under it between steps.
    slot.value = view(copies && !spec.full_precision ? group.compute : group.master).detach();
    slot.value.set_requires_grad(true);
    storage->index_[spec.name] = &slot;
    storage->by_name_.push_back(&slot);
  }
  std::sort(storage->by_name_.begin(), storage->by_name_.end(),
            [](const ParameterSlot* a, const ParameterSlot* b) { return a->spec->name < b->spec->name; });
  storage->refresh_compute();
  return storage;
}

void ParameterStorage::allocate_states(const std::vector<std::string>& names) {
  state_names_ = names;
  for (FlatGroup& group : groups_)
    for (std::size_t i = 0; i < names.size(); ++i) group.states.push_back(at::zeros_like(group.master));
  for (ParameterSlot& slot : slots_)
    for (const at::Tensor& state : groups_[slot.group].states)
      slot.states.push_back(state.narrow(0, slot.offset, count(slot.spec->shape)).view(slot.spec->shape));
}

void ParameterStorage::refresh_compute() {
  for (FlatGroup& group : groups_)
    if (group.compute.defined()) group.compute.copy_(group.master.narrow(0, 0, group.compute.numel()));
}

const ParameterSlot* ParameterStorage::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

std::vector<Segment> ParameterStorage::segments(bool elementwise) const {
  std::vector<Segment> segments;
  if (elementwise) {
    for (const FlatGroup& group : groups_)
      segments.push_back({group.decay, nullptr, 0, group.master, group.gradient, group.states});
  } else {
    for (const ParameterSlot& slot : slots_)
      segments.push_back({slot.spec->decay, slot.spec, 0, slot.master, slot.sink.gradient, slot.states});
  }
  return segments;
}

BufferStorage::BufferStorage(const StageDescription& description, at::Device device) {
  std::map<at::ScalarType, std::int64_t> counter_size;
  for (const BufferSpec& spec : description.buffers)
    if (spec.use == BufferUse::counter) counter_size[spec.dtype] += aligned(count(spec.shape));
  std::map<at::ScalarType, std::pair<at::Tensor, std::int64_t>> flat; // and what of it is given away
  for (const auto& [type, size] : counter_size) {
    counters_.push_back(at::zeros({size}, at::TensorOptions().device(device).dtype(type)));
    flat[type] = {counters_.back(), 0};
  }
  for (const BufferSpec& spec : description.buffers) {
    if (spec.use == BufferUse::state) {
      tensors_.push_back(at::zeros(spec.shape, at::TensorOptions().device(device).dtype(spec.dtype)));
    } else {
      auto& [storage, used] = flat[spec.dtype];
      tensors_.push_back(storage.narrow(0, used, count(spec.shape)).view(spec.shape));
      used += aligned(count(spec.shape));
    }
    if (spec.use == BufferUse::counter && !spec.report_as.empty()) {
      reported_.push_back(tensors_.back());
      reported_specs_.push_back(&spec);
    }
  }
}

void BufferStorage::zero_counters() {
  for (at::Tensor& counter : counters_) counter.zero_();
}

at::Tensor BufferStorage::reported() const {
  if (reported_.empty()) return {};
  std::vector<at::Tensor> parts;
  parts.reserve(reported_.size());
  for (const at::Tensor& counter : reported_) parts.push_back(counter.reshape({-1}));
  return at::cat(parts).to(at::kDouble);
}

} // namespace conclave::train
