// Snapshot and restore of the engine's tensors.

#include "train/checkpoint_state.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <string>
#include <utility>

#include "checkpoint/flat_ranges.hpp"

namespace conclave::train {
namespace {

constexpr const char* optimizer_prefix = "optimizer/";

std::string state_name(const std::string& state, const std::string& piece) {
  return optimizer_prefix + state + "/" + piece;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

class Restorer {
 public:
  explicit Restorer(const CheckpointReader& reader) : reader_(reader) {
    for (std::string& name : reader.tensor_names()) used_.emplace(std::move(name), false);
  }

  // `box` is a view of ours with the named box's elements in order.
  Status read(const std::string& name, const std::vector<std::int64_t>& global_shape,
              const std::vector<std::int64_t>& offset, at::Tensor box) {
    const auto known = used_.find(name);
    if (known == used_.end())
      return invalid("the checkpoint has no tensor `" + name + "`",
                     "resume with the model and optimizer that wrote it, or start a new run", where());
    CONCLAVE_ASSIGN(const std::vector<std::int64_t> shape, reader_.shape(name));
    if (shape != global_shape)
      return invalid("`" + name + "` is " + shape_text(shape) + " in the checkpoint and " + shape_text(global_shape) +
                         " in this experiment",
                     "resume with the model and tokenizer that wrote it, or start a new run", where());
    const at::Tensor values = at::empty(box.sizes(), at::TensorOptions().dtype(box.scalar_type()));
    CONCLAVE_RETURN_IF_ERROR(reader_.read(name, offset, values));
    box.copy_(values);
    known->second = true;
    return {};
  }

  /// What all ranks make of it. A deeper model's checkpoint would otherwise load into a shallower one without a word; what one
  /// rank has no place for may have one on another.
  Status conclude(const Status& own, Groups* groups, at::Device device) const {
    std::vector<std::int64_t> flags{own.ok() ? 0 : 1};
    for (const auto& [name, read] : used_) flags.push_back(read ? 1 : 0);
    at::Tensor anywhere = at::tensor(flags, at::kLong).to(device);
    if (groups != nullptr) groups->world().all_reduce(anywhere, ReduceOp::max).wait();
    anywhere = anywhere.cpu();
    const auto* read = anywhere.const_data_ptr<std::int64_t>();
    if (!own.ok()) return own;
    if (*read++ != 0) return invalid("another rank cannot go on from this checkpoint", "its log says why", where());
    for (const auto& [name, here] : used_)
      if (*read++ == 0)
        return invalid("the checkpoint's tensor `" + name + "` has no place in this experiment's model and optimizer",
                       "resume with the model and optimizer that wrote it, or start a new run", where());
    return {};
  }

 private:
  std::string where() const { return reader_.path().string(); }
  const CheckpointReader& reader_;
  std::map<std::string, bool> used_; ///< the checkpoint's tensors, and whether they were read here
};

/// Of the part of a slot that lies in `range` of its group: each named box of the master and of every state, as (name,
/// shard). The group's masters and states begin at group.held.begin.
template <class F>
Status for_each_shard(const ParameterStorage& parameters, const ParameterSlot& slot, FlatRange range, F&& use) {
  const FlatGroup& group = parameters.groups()[slot.group];
  const FlatRange part = common(slot.range, range);
  if (part.size() == 0) return {};
  for (std::size_t i = 0; i <= group.states.size(); ++i) {
    const at::Tensor& flat = i == 0 ? group.master : group.states[i - 1];
    CONCLAVE_ASSIGN(std::vector<TensorShard> shards,
                    shards_of_range(*slot.spec, part.begin - slot.range.begin,
                                    flat.narrow(0, part.begin - group.held.begin, part.size())));
    for (TensorShard& shard : shards) {
      if (i > 0) shard.name = state_name(parameters.state_names()[i - 1], shard.name);
      CONCLAVE_RETURN_IF_ERROR(use(std::move(shard)));
    }
  }
  return {};
}

} // namespace

Status snapshot_tensors(const ParameterStorage& parameters, const std::vector<StageDescription>& chunks,
                        const std::vector<std::unique_ptr<BufferStorage>>& buffers, const Mesh& mesh,
                        Snapshot& snapshot) {
  for (const ParameterSlot& slot : parameters.slots()) {
    if (!slot.counted) continue;
    CONCLAVE_RETURN_IF_ERROR(
        for_each_shard(parameters, slot, parameters.groups()[slot.group].owned, [&](TensorShard shard) -> Status {
          snapshot.tensors.push_back(std::move(shard));
          return {};
        }));
  }
  // Equal on every rank of a stage: one of them saves.
  for (const MeshDim dim : {MeshDim::data, MeshDim::context, MeshDim::tensor})
    if (mesh.index(dim) != 0) return {};
  for (std::size_t c = 0; c < chunks.size(); ++c)
    for (std::size_t i = 0; i < chunks[c].buffers.size(); ++i)
      if (const BufferSpec& spec = chunks[c].buffers[i]; spec.use == BufferUse::state)
        snapshot.tensors.push_back(
            {spec.name, spec.shape, std::vector<std::int64_t>(spec.shape.size(), 0), buffers[c]->tensors()[i]});
  return {};
}

Status restore_tensors(const CheckpointReader& reader, ParameterStorage& parameters,
                       const std::vector<StageDescription>& chunks,
                       const std::vector<std::unique_ptr<BufferStorage>>& buffers, Groups* groups, at::Device device) {
  Restorer restorer(reader);
  const Status own = [&]() -> Status {
    for (const ParameterSlot& slot : parameters.slots())
      CONCLAVE_RETURN_IF_ERROR(
          for_each_shard(parameters, slot, parameters.groups()[slot.group].held, [&](const TensorShard& shard) {
            return restorer.read(shard.name, shard.global_shape, shard.offset, shard.value);
          }));
    for (std::size_t c = 0; c < chunks.size(); ++c)
      for (std::size_t i = 0; i < chunks[c].buffers.size(); ++i)
        if (const BufferSpec& spec = chunks[c].buffers[i]; spec.use == BufferUse::state)
          CONCLAVE_RETURN_IF_ERROR(restorer.read(spec.name, spec.shape, std::vector<std::int64_t>(spec.shape.size(), 0),
                                                 buffers[c]->tensors()[i]));
    return {};
  }();
  CONCLAVE_RETURN_IF_ERROR(restorer.conclude(own, groups, device));
  parameters.publish_masters();
  return {};
}

} // namespace conclave::train
