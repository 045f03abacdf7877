// Snapshot and restore of the engine's tensors.

#include "train/checkpoint_state.hpp"

#include <ATen/ops/empty.h>

#include <set>

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
    for (std::string& name : reader.tensor_names()) names_.insert(std::move(name));
  }

  // `box` is a view of ours with the named box's elements in order.
  Status read(const std::string& name, const std::vector<std::int64_t>& global_shape, const Box& global,
              at::Tensor box) {
    if (names_.count(name) == 0)
      return invalid("the checkpoint has no tensor `" + name + "`",
                     "resume with the model and optimizer that wrote it, or start a new run", where());
    CONCLAVE_ASSIGN(const std::vector<std::int64_t> shape, reader_.shape(name));
    if (shape != global_shape)
      return invalid("`" + name + "` is " + shape_text(shape) + " in the checkpoint and " + shape_text(global_shape) +
                         " in this experiment",
                     "resume with the model and tokenizer that wrote it, or start a new run", where());
    const at::Tensor values = at::empty(global.size, at::TensorOptions().dtype(box.scalar_type()));
    CONCLAVE_RETURN_IF_ERROR(reader_.read(name, global.offset, values));
    box.copy_(values.view(box.sizes()));
    used_.insert(name);
    return {};
  }

  // A deeper model's checkpoint would otherwise load into a shallower one without a word.
  Status nothing_left() const {
    for (const std::string& name : names_)
      if (used_.count(name) == 0)
        return invalid("the checkpoint's tensor `" + name + "` has no place in this experiment's model and optimizer",
                       "resume with the model and optimizer that wrote it, or start a new run", where());
    return {};
  }

 private:
  std::string where() const { return reader_.path().string(); }
  const CheckpointReader& reader_;
  std::set<std::string> names_, used_;
};

} // namespace

void snapshot_tensors(const ParameterStorage& parameters, const StageDescription& description,
                      const BufferStorage& buffers, Snapshot& snapshot) {
  auto keep = [&](std::string name, const at::Tensor& local, const ParamPiece& piece) {
    snapshot.tensors.push_back(
        {std::move(name), piece.global_shape, piece.global.offset, local_box(local, piece).reshape(piece.global.size)});
  };
  for (const ParameterSlot& slot : parameters.slots()) {
    for (const ParamPiece& piece : slot.spec->pieces) {
      keep(piece.name, slot.master, piece);
      for (std::size_t i = 0; i < slot.states.size(); ++i)
        keep(state_name(parameters.state_names()[i], piece.name), slot.states[i], piece);
    }
  }
  for (std::size_t i = 0; i < description.buffers.size(); ++i) {
    const BufferSpec& spec = description.buffers[i];
    if (spec.use == BufferUse::state)
      snapshot.tensors.push_back(
          {spec.name, spec.shape, std::vector<std::int64_t>(spec.shape.size(), 0), buffers.tensors()[i]});
  }
}

Status restore_tensors(const CheckpointReader& reader, ParameterStorage& parameters,
                       const StageDescription& description, const BufferStorage& buffers) {
  Restorer restorer(reader);
  for (ParameterSlot& slot : parameters.slots()) {
    for (const ParamPiece& piece : slot.spec->pieces) {
      CONCLAVE_RETURN_IF_ERROR(
          restorer.read(piece.name, piece.global_shape, piece.global, local_box(slot.master, piece)));
      for (std::size_t i = 0; i < slot.states.size(); ++i)
        CONCLAVE_RETURN_IF_ERROR(restorer.read(state_name(parameters.state_names()[i], piece.name), piece.global_shape,
                                               piece.global, local_box(slot.states[i], piece)));
    }
  }
  for (std::size_t i = 0; i < description.buffers.size(); ++i) {
    const BufferSpec& spec = description.buffers[i];
    if (spec.use != BufferUse::state) continue;
    const Box whole{std::vector<std::int64_t>(spec.shape.size(), 0), spec.shape};
    CONCLAVE_RETURN_IF_ERROR(restorer.read(spec.name, spec.shape, whole, buffers.tensors()[i]));
  }
  CONCLAVE_RETURN_IF_ERROR(restorer.nothing_left());
  parameters.refresh_compute();
  return {};
}

} // namespace conclave::train
