// Layout, allocation and lookup of the flat storage.

#include "train/storage.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>
#include <set>
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

/// Whether a parameter says of each of these dimensions how it lies over their ranks.
bool accounts_for(const ParamSpec& spec, const Mesh& mesh, std::initializer_list<MeshDim> dims) {
  return std::all_of(dims.begin(), dims.end(), [&](MeshDim dim) {
    const auto& copies = spec.replicated_over;
    const auto placed = [dim](const ParamPlacement& placement) { return placement.dim == dim; };
    return mesh.size(dim) == 1 || std::find(copies.begin(), copies.end(), dim) != copies.end() ||
           std::any_of(spec.placements.begin(), spec.placements.end(), placed);
  });
}

Status check(const StageDescription& description, const Mesh& mesh) {
  std::set<std::string> names;
  for (const ParamSpec& spec : description.parameters) {
    // Silence would mean gradients that are never summed.
    if (!accounts_for(spec, mesh, {MeshDim::data, MeshDim::context, MeshDim::tensor}) &&
        !accounts_for(spec, mesh, {MeshDim::expert_data, MeshDim::expert}))
      return internal_error("parameter `" + spec.name +
                            "` does not say how it lies over the ranks: each dimension of the mesh, or each of the "
                            "experts' dimensions, belongs in its placements or in replicated_over");
    if (!names.insert(spec.name).second) return internal_error("parameter `" + spec.name + "` is described twice");
    if (spec.pieces.empty()) return internal_error("parameter `" + spec.name + "` has no piece");
    for (const ParamPiece& piece : spec.pieces) {
      if (!inside(piece.local, spec.shape) || !inside(piece.global, piece.global_shape) ||
          count(piece.local.size) != count(piece.global.size))
        return internal_error("the boxes of piece `" + piece.name + "` of parameter `" + spec.name + "` do not fit");
    }
    for (const MeshDim dim : spec.grad_sum_over)
      if (std::find(spec.replicated_over.begin(), spec.replicated_over.end(), dim) == spec.replicated_over.end())
        return internal_error("the gradient of parameter `" + spec.name + "` is summed over " +
                              std::string(to_string(dim)) + ", over which it has no copies");
  }
  for (const BufferSpec& buffer : description.buffers)
    if (!names.insert(buffer.name).second) return internal_error("buffer `" + buffer.name + "` is described twice");
  return {};
}

/// What the parameters of a group have in common; the order of the groups.
struct GroupKey {
  int chunk = 0;
  DecayClass decay = DecayClass::decay;
  std::vector<MeshDim> grad_sum_over;
  bool full_precision = false;
  int tied_peer = -1;
  std::string tied; ///< a tied parameter has a group of its own, so that both ranks lay it out alike
  auto operator<=>(const GroupKey&) const = default;
};

GroupKey group_key(const ParamSpec& spec, int chunk, const StorageSettings& settings) {
  const std::set<MeshDim> dims(spec.grad_sum_over.begin(), spec.grad_sum_over.end());
  GroupKey key{chunk, spec.decay, {dims.begin(), dims.end()}, spec.full_precision, -1, ""};
  if (const auto tied = settings.tied.find(spec.name); tied != settings.tied.end())
    std::tie(key.tied_peer, key.tied) = std::pair(tied->second, spec.name);
  return key;
}

/// Where a parameter has several equal copies whose gradients are equal as well, the first one counts.
bool is_first_copy(const ParamSpec& spec, const Mesh& mesh) {
  return std::all_of(spec.replicated_over.begin(), spec.replicated_over.end(), [&](MeshDim dim) {
    const auto& summed = spec.grad_sum_over;
    return std::find(summed.begin(), summed.end(), dim) != summed.end() || mesh.index(dim) == 0;
  });
}

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

} // namespace

FlatRange common(FlatRange a, FlatRange b) noexcept {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

Result<std::unique_ptr<ParameterStorage>> ParameterStorage::make(std::span<const StageDescription> chunks,
                                                                 const StorageSettings& settings) {
  const at::NoGradGuard no_grad;
  std::unique_ptr<ParameterStorage> storage(new ParameterStorage);
  CONCLAVE_RETURN_IF_ERROR(storage->place(chunks, settings));
  storage->allocate(settings);
  CONCLAVE_RETURN_IF_ERROR(storage->fill(settings));
  return storage;
}

Status ParameterStorage::place(std::span<const StageDescription> chunks, const StorageSettings& settings) {
  std::map<GroupKey, std::vector<ParameterSlot*>> alike;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    CONCLAVE_RETURN_IF_ERROR(check(chunks[c], settings.mesh));
    chunks_.emplace_back();
    for (const ParamSpec& spec : chunks[c].parameters) {
      const auto owner = spec.tied_with.empty() ? index_.end() : index_.find(spec.tied_with);
      if (owner != index_.end()) { // both copies are here: one serves both chunks
        if (owner->second->spec->shape != spec.shape)
          return internal_error("the tied parameters `" + spec.name + "` and `" + spec.tied_with + "` differ in shape");
        chunks_.back().push_back(owner->second);
        continue;
      }
      if (!spec.tied_with.empty() && settings.tied.count(spec.name) == 0)
        return internal_error("parameter `" + spec.name + "` is tied with `" + spec.tied_with +
                              "`, which no chunk before it describes");
      ParameterSlot& slot = slots_.emplace_back();
      slot.spec = &spec;
      slot.counted = spec.norm_owner && is_first_copy(spec, settings.mesh);
      if (!index_.emplace(spec.name, &slot).second)
        return internal_error("parameter `" + spec.name + "` is described by two chunks");
      chunks_.back().push_back(&slot);
      alike[group_key(spec, static_cast<int>(c), settings)].push_back(&slot);
    }
  }
  for (const auto& [key, members] : alike) {
    Group* ranks = nullptr;
    if (settings.groups != nullptr && !key.grad_sum_over.empty()) ranks = &settings.groups->over(key.grad_sum_over);
    if (ranks != nullptr && ranks->size() == 1) ranks = nullptr;
    std::int64_t size = 0;
    const auto close = [&] { // the group under way is complete
      FlatGroup& group = groups_.back();
      const std::int64_t parts = ranks != nullptr ? ranks->size() : 1;
      size = rounded_up(size, alignment * parts);
      group.held = {0, size};
      group.owned = group.held;
      if (ranks != nullptr) {
        group.owned = {size / parts * ranks->rank(), size / parts * (ranks->rank() + 1)};
        if (settings.shard_optimizer) group.held = group.owned;
      }
    };
    for (ParameterSlot* slot : members) {
      const std::int64_t extent = rounded_up(count(slot->spec->shape), alignment);
      const bool full = ranks != nullptr && size > 0 && size + extent > settings.bucket;
      if (full) close();
      if (full || slot == members.front()) {
        FlatGroup& group = groups_.emplace_back();
        group.chunk = key.chunk;
        group.decay = key.decay;
        group.grad_sum_over = key.grad_sum_over;
        group.full_precision = key.full_precision;
        group.tied_peer = key.tied_peer;
        group.ranks = ranks;
        size = 0;
      }
      slot->group = groups_.size() - 1;
      slot->range = {size, size + count(slot->spec->shape)};
      size += extent;
    }
    close();
  }
  return {};
}

void ParameterStorage::allocate(const StorageSettings& settings) {
  const auto master = at::TensorOptions().device(settings.device).dtype(settings.master);
  std::vector<std::int64_t> sizes(groups_.size());
  for (std::size_t i = 0; i < groups_.size(); ++i)
    sizes[i] = groups_[i].ranks != nullptr ? groups_[i].owned.size() * groups_[i].ranks->size() : groups_[i].held.end;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    FlatGroup& group = groups_[i];
    const at::ScalarType type = group.full_precision ? settings.master : settings.compute;
    group.value = at::zeros({sizes[i]}, master.dtype(type));
    group.gradient = at::zeros({sizes[i]}, master);
    group.master = type == settings.master ? group.value.narrow(0, group.held.begin, group.held.size())
                                           : at::zeros({group.held.size()}, master);
  }
}

Status ParameterStorage::fill(const StorageSettings& settings) {
  for (ParameterSlot& slot : slots_) {
    const ParamSpec& spec = *slot.spec;
    FlatGroup& group = groups_[slot.group];
    const at::Tensor value = group.value.narrow(0, slot.range.begin, slot.range.size());
    const bool same_type = value.scalar_type() == settings.master;
    const at::Tensor whole = same_type ? value : at::empty({slot.range.size()}, group.master.options());
    CONCLAVE_RETURN_IF_ERROR(fill_parameter(spec, settings.seed, whole.view(spec.shape)));
    const FlatRange held = common(slot.range, group.held);
    if (!same_type) {
      value.copy_(whole);
      if (held.size() > 0)
        group.master.narrow(0, held.begin - group.held.begin, held.size())
            .copy_(whole.narrow(0, held.begin - slot.range.begin, held.size()));
    }
    if (held.size() == slot.range.size())
      slot.master = group.master.narrow(0, held.begin - group.held.begin, held.size()).view(spec.shape);
    slot.sink.gradient = group.gradient.narrow(0, slot.range.begin, slot.range.size()).view(spec.shape);
    slot.sink.expected = spec.contributions;
    // detach(): a leaf of its own over the same memory, which the optimizer changes under it between steps.
    slot.value = value.view(spec.shape).detach();
    slot.value.set_requires_grad(true);
  }
  return {};
}

void ParameterStorage::allocate_states(const std::vector<std::string>& names) {
  state_names_ = names;
  for (FlatGroup& group : groups_)
    for (std::size_t i = 0; i < names.size(); ++i) group.states.push_back(at::zeros_like(group.master));
  for (ParameterSlot& slot : slots_) {
    if (!slot.master.defined()) continue;
    const FlatGroup& group = groups_[slot.group];
    for (const at::Tensor& state : group.states)
      slot.states.push_back(
          state.narrow(0, slot.range.begin - group.held.begin, slot.range.size()).view(slot.spec->shape));
  }
}

void ParameterStorage::publish_masters(bool rounded) {
  std::vector<Work> gathering;
  for (FlatGroup& group : groups_) {
    const at::Tensor held = group.value.narrow(0, group.held.begin, group.held.size());
    if (!rounded && held.scalar_type() != group.master.scalar_type()) held.copy_(group.master);
    if (group.ranks != nullptr && group.held.size() < group.value.numel())
      gathering.push_back(group.ranks->all_gather(group.value, held));
  }
  for (Work& work : gathering) work.wait();
}

namespace {

/// For Segment::value.
at::Tensor rounded_copy(const at::Tensor& value, const at::Tensor& master) {
  return value.scalar_type() != master.scalar_type() ? value : at::Tensor();
}

} // namespace

const ParameterSlot* ParameterStorage::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

std::vector<Segment> ParameterStorage::segments(bool elementwise) const {
  std::vector<Segment> segments;
  if (elementwise) {
    for (const FlatGroup& group : groups_)
      segments.push_back({group.decay, nullptr, 0, group.master,
                          group.gradient.narrow(0, group.held.begin, group.held.size()), group.states,
                          rounded_copy(group.value.narrow(0, group.held.begin, group.held.size()), group.master)});
  } else {
    for (const ParameterSlot& slot : slots_)
      segments.push_back({slot.spec->decay, slot.spec, 0, slot.master, slot.sink.gradient, slot.states,
                          rounded_copy(slot.value.detach(), slot.master)});
  }
  return segments;
}

} // namespace conclave::train
