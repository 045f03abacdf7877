// Grouping a snapshot's tensors into files and copying them.

#include "checkpoint/staging.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "checkpoint/dtypes.hpp"
#include "checkpoint/verified_files.hpp"

namespace conclave {
namespace {

constexpr const char* states_file = "states.safetensors";

/// The tensors of one file, by the entry's name in that file.
struct Group {
  SafetensorsLayout layout;
  std::map<std::string, const TensorShard*> shards;
  std::int64_t bytes = 0;
};

bool covers_all(const TensorShard& shard) { return shard.value.sizes() == at::IntArrayRef(shard.global_shape); }

/// A whole tensor keeps its name; a box says where it lies, because safetensors names are unique in a file.
std::string entry_name(const TensorShard& shard) {
  if (covers_all(shard)) return shard.name;
  std::string name = shard.name + " [";
  for (std::size_t axis = 0; axis < shard.offset.size(); ++axis) {
    const std::int64_t begin = shard.offset[axis];
    name += (axis ? ", " : "") + std::to_string(begin) + ":" +
            std::to_string(begin + shard.value.size(static_cast<std::int64_t>(axis)));
  }
  return name + "]";
}

/// `tensors-00001.safetensors`, or `tensors-r003-00001.safetensors` where other ranks write into the folder as well.
std::string file_name(std::optional<int> rank, std::size_t index) {
  char of_rank[24] = "", text[64];
  if (rank) std::snprintf(of_rank, sizeof of_rank, "r%03d-", *rank);
  std::snprintf(text, sizeof text, "tensors-%s%05zu.safetensors", of_rank, index + 1);
  return text;
}

/// Every box is copied by the current stream of its device; this waits for them.
void wait_for_copies(const std::vector<TensorShard>& tensors) {
  std::set<c10::Device, bool (*)(const c10::Device&, const c10::Device&)> devices(
      [](const c10::Device& a, const c10::Device& b) { return a.index() < b.index(); });
  for (const TensorShard& shard : tensors)
    if (!shard.value.device().is_cpu()) devices.insert(shard.value.device());
  for (const c10::Device& device : devices) c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

Status add_tensor(const TensorShard& shard, std::int64_t max_file_bytes, std::optional<int> rank,
                  std::vector<Group>& groups, Manifest& manifest) {
  if (!shard.value.defined()) return internal_error("tensor '" + shard.name + "' of the snapshot has no value");
  const DtypeInfo* info = find_dtype(shard.value.scalar_type());
  if (!info) return internal_error("tensor '" + shard.name + "' has a type that safetensors does not have");
  const std::vector<std::int64_t> size = shard.value.sizes().vec();
  const std::vector<std::int64_t> offset =
      shard.offset.empty() ? std::vector<std::int64_t>(size.size(), 0) : shard.offset;

  const auto [found, fresh] =
      manifest.tensors.try_emplace(shard.name, ManifestTensor{std::string(info->name), shard.global_shape, {}});
  if (!fresh && (found->second.dtype != info->name || found->second.shape != shard.global_shape))
    return internal_error("the boxes of tensor '" + shard.name + "' disagree on its type or shape");

  const std::int64_t bytes = shard.value.numel() * info->bytes;
  if (groups.empty() || (groups.back().bytes > 0 && groups.back().bytes + bytes > max_file_bytes))
    groups.emplace_back();
  Group& group = groups.back();
  group.bytes += bytes;
  std::string name = entry_name(shard);
  if (!group.shards.emplace(name, &shard).second)
    return internal_error("tensor '" + shard.name + "' is twice in the snapshot");
  group.layout.entries.push_back({std::move(name), std::string(info->name), size, 0, 0});
  // `begin` follows when the layout is planned; until then it is the entry's place among its tensor's boxes.
  found->second.boxes.push_back({offset, size, file_name(rank, groups.size() - 1), 0});
  return {};
}

/// States as the manifest has them; arrays are also listed in `layout` and `arrays`.
Status add_states(const std::map<std::string, StateMap>& states, SafetensorsLayout& layout,
                  std::map<std::string, const StateArray*>& arrays, Manifest& manifest) {
  for (const auto& [owner, held] : states) {
    auto& target = manifest.states[owner];
    for (const auto& [name, value] : held) {
      if (const auto* array = std::get_if<StateArray>(&value)) {
        const DtypeInfo* info = find_dtype(array->dtype);
        const auto bytes = info ? byte_count(array->shape, info->bytes) : std::nullopt;
        if (!bytes || *bytes != static_cast<std::int64_t>(array->data.size()))
          return internal_error("state '" + name + "' of '" + owner + "' has data that do not fit its dtype and shape");
        const std::string key = owner + "/" + name;
        if (!arrays.emplace(key, array).second) return internal_error("two states are called '" + key + "'");
        layout.entries.push_back({key, array->dtype, array->shape, 0, 0});
        target.emplace(name, ManifestArray{array->dtype, array->shape, states_file, 0});
      } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
        target.emplace(name, *integer);
      } else if (const auto* real = std::get_if<double>(&value)) {
        target.emplace(name, *real);
      } else {
        target.emplace(name, std::get<std::string>(value));
      }
    }
  }
  return {};
}

} // namespace

Result<at::Tensor> Staging::buffer(std::size_t index, std::int64_t bytes, bool page_locked) {
  if (index >= buffers_.size()) buffers_.resize(index + 1);
  at::Tensor& held = buffers_[index];
  if (held.defined() && held.numel() >= bytes) return held;
  held = at::Tensor(); // before the new one, so that both are never held at once
  const auto options = at::TensorOptions().dtype(at::kByte).device(at::kCPU);
  try {
    if (page_locked) {
      try {
        return held = at::empty({bytes}, options.pinned_memory(true));
      } catch (const c10::Error&) {
        // Page-locked memory is scarce on some machines; the copy is slower without it, and as right.
      }
    }
    return held = at::empty({bytes}, options);
  } catch (const std::exception&) {
    return unsupported("the host has no memory for a checkpoint: " + std::to_string(bytes) + " bytes more are needed",
                       "give the job more memory");
  }
}

Result<StagedSnapshot> Staging::stage(Snapshot snapshot) {
  StagedSnapshot staged;
  Manifest& manifest = staged.manifest;
  manifest.step = snapshot.step;
  if (rank_.value_or(0) == 0) {
    manifest.meta_json = std::move(snapshot.meta_json);
  } else {
    snapshot.states.clear();
    snapshot.files.clear();
  }

  std::vector<Group> groups;
  bool on_device = false;
  for (const TensorShard& shard : snapshot.tensors) {
    CONCLAVE_RETURN_IF_ERROR(add_tensor(shard, max_file_bytes_, rank_, groups, manifest));
    on_device |= !shard.value.device().is_cpu();
  }
  if (!rank_) CONCLAVE_RETURN_IF_ERROR(check_all_boxes(manifest));

  for (std::size_t i = 0; i < groups.size(); ++i) {
    Group& group = groups[i];
    group.layout.metadata = {{"format", "conclave-checkpoint"}, {"step", std::to_string(snapshot.step)}};
    StagedFile file;
    file.name = file_name(rank_, i);
    CONCLAVE_ASSIGN(file.head, plan_safetensors(group.layout));
    CONCLAVE_ASSIGN(at::Tensor bytes, buffer(i, group.layout.data_bytes, on_device));
    for (const SafetensorsEntry& entry : group.layout.entries) {
      const TensorShard& shard = *group.shards.at(entry.name);
      for (ManifestBox& box : manifest.tensors.at(shard.name).boxes)
        if (box.file == file.name && box.size == entry.shape && (shard.offset.empty() || box.offset == shard.offset))
          box.begin = group.layout.data_begin + entry.begin;
      if (entry.begin == entry.end) continue;
      bytes.narrow(0, entry.begin, entry.end - entry.begin)
          .view(shard.value.scalar_type())
          .view(shard.value.sizes())
          .copy_(shard.value.detach(), /*non_blocking=*/true);
    }
    file.data = static_cast<const std::byte*>(bytes.const_data_ptr());
    file.data_bytes = group.layout.data_bytes;
    staged.tensor_files.push_back(std::move(file));
  }
  wait_for_copies(snapshot.tensors);

  SafetensorsLayout layout;
  std::map<std::string, const StateArray*> arrays;
  CONCLAVE_RETURN_IF_ERROR(add_states(snapshot.states, layout, arrays, manifest));
  if (!layout.entries.empty()) {
    CONCLAVE_ASSIGN(std::string content, plan_safetensors(layout));
    for (const SafetensorsEntry& entry : layout.entries) {
      const StateArray& array = *arrays.at(entry.name);
      content.append(reinterpret_cast<const char*>(array.data.data()), array.data.size());
      for (auto& [owner, held] : manifest.states)
        for (auto& [name, state] : held)
          if (auto* target = std::get_if<ManifestArray>(&state); target && owner + "/" + name == entry.name)
            target->begin = layout.data_begin + entry.begin;
    }
    staged.extra_files.emplace(states_file, std::move(content));
  }
  for (auto& [name, content] : snapshot.files) {
    if (!is_safe_relative_name(name))
      return internal_error("the extra file name '" + name + "' leaves the checkpoint folder");
    staged.extra_files.emplace(extra_folder + name, std::move(content));
  }
  return staged;
}

} // namespace conclave
