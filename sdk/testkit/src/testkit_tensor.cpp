// Batches, bound stages and optimizer segments on the CPU.

#include "conclave/testkit_tensor.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <stdexcept>

#include "conclave/random.hpp"

namespace conclave::testkit {
namespace {

std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t size : shape) n *= size;
  return n;
}

/// Row-major index of `offset + position` in a tensor of that shape.
std::int64_t flat(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& offset,
                  const std::vector<std::int64_t>& position) {
  std::int64_t index = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) index = index * shape[axis] + offset[axis] + position[axis];
  return index;
}

/// The next position in a box of that size, row-major; false after the last.
bool advance(std::vector<std::int64_t>& position, const std::vector<std::int64_t>& size) {
  for (std::size_t axis = size.size(); axis-- > 0;) {
    if (++position[axis] < size[axis]) return true;
    position[axis] = 0;
  }
  return false;
}

void fill_piece(const ParamSpec& spec, const ParamPiece& piece, std::uint64_t seed, double* out) {
  const RandomStream stream(seed, piece.name);
  std::vector<std::int64_t> from(piece.global.size.size()), to(piece.local.size.size());
  const std::int64_t n = elements(piece.local.size);
  if (n != elements(piece.global.size))
    throw std::logic_error("piece " + piece.name + ": global and local box differ in size");
  for (std::int64_t i = 0; i < n; ++i) {
    double value = 0;
    if (spec.init.kind == InitKind::constant) value = spec.init.scale;
    if (spec.init.kind == InitKind::normal)
      value = spec.init.scale *
              stream.normal(static_cast<std::uint64_t>(flat(piece.global_shape, piece.global.offset, from)));
    out[flat(spec.shape, piece.local.offset, to)] = value;
    advance(from, piece.global.size);
    advance(to, piece.local.size);
  }
}

} // namespace

Batch random_batch(std::int64_t rows, std::int64_t length, std::int64_t vocabulary, std::uint64_t seed,
                   std::int64_t padding) {
  const RandomStream stream(seed, "testkit/batch");
  Batch batch;
  batch.tokens = at::zeros({rows, length}, at::kLong);
  batch.labels = at::zeros({rows, length}, at::kLong);
  batch.position_ids = at::zeros({rows, length}, at::kLong);
  batch.loss_mask = at::zeros({rows, length}, at::kBool);
  batch.domains = at::zeros({rows}, at::kLong);
  if (padding > 0) batch.token_mask = at::zeros({rows, length}, at::kBool);
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* labels = batch.labels.mutable_data_ptr<std::int64_t>();
  auto* positions = batch.position_ids.mutable_data_ptr<std::int64_t>();
  auto* mask = batch.loss_mask.mutable_data_ptr<bool>();
  auto* real = padding > 0 ? batch.token_mask.mutable_data_ptr<bool>() : nullptr;
  std::uint64_t draw = 0;
  const auto next_token = [&] {
    return static_cast<std::int64_t>(stream.below(draw++, static_cast<std::uint64_t>(vocabulary)));
  };
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t used = row + 1 == rows ? length - padding : length;
    std::int64_t token = next_token();
    for (std::int64_t i = 0; i < used; ++i) {
      const std::int64_t at = row * length + i;
      tokens[at] = token;
      labels[at] = token = next_token();
      positions[at] = i;
      mask[at] = true;
      if (real) real[at] = true;
    }
    batch.global_loss_tokens += used;
  }
  batch.global_sequences = rows;
  return batch;
}

at::Tensor initial_value(const ParamSpec& spec, std::uint64_t seed) {
  at::Tensor value = at::zeros(spec.shape, at::kDouble); // padding stays zero
  for (const ParamPiece& piece : spec.pieces) fill_piece(spec, piece, seed, value.mutable_data_ptr<double>());
  return value;
}

at::Tensor BoundStage::parameter(const std::string& name) const {
  for (std::size_t i = 0; i < description.parameters.size(); ++i)
    if (description.parameters[i].name == name) return storage.parameters[i].value;
  throw std::out_of_range("no parameter is called " + name);
}

void BoundStage::collect_gradients() {
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    at::Tensor& arrived = storage.parameters[i].value.mutable_grad();
    if (!arrived.defined()) continue;
    GradSink& sink = *sinks[i];
    if (sink.overwrite())
      sink.gradient.copy_(arrived);
    else
      sink.gradient.add_(arrived);
    arrived.reset();
    sink.ready();
  }
}

at::Tensor BoundStage::gradient(std::size_t i) const {
  return sinks.empty() ? storage.parameters[i].value.grad() : sinks[i]->gradient;
}

Result<BoundStage> bind_stage(const Model& model, const StageRequest& request, std::uint64_t seed,
                              Gradients gradients) {
  BoundStage bound;
  CONCLAVE_ASSIGN(bound.stage, model.make_stage(request));
  if (!bound.stage) return internal_error("make_stage() returned no stage");
  bound.description = bound.stage->describe();
  for (const ParamSpec& spec : bound.description.parameters) {
    const at::ScalarType type = spec.full_precision ? request.master : request.compute;
    BoundParam parameter;
    parameter.value = initial_value(spec, seed).to(request.master).to(type).requires_grad_(true);
    if (gradients == Gradients::sinks) {
      GradSink& sink = *bound.sinks.emplace_back(std::make_unique<GradSink>());
      sink.gradient = at::full(spec.shape, std::numeric_limits<double>::quiet_NaN(), request.master);
      sink.expected = spec.contributions;
      sink.begin_step();
      parameter.sink = &sink;
    }
    bound.storage.parameters.push_back(std::move(parameter));
  }
  for (const BufferSpec& spec : bound.description.buffers)
    bound.storage.buffers.push_back(at::zeros(spec.shape, spec.dtype));
  CONCLAVE_RETURN_IF_ERROR(bound.stage->bind(bound.storage));
  return bound;
}

at::Tensor total_loss(const StageOutput& output, const Batch& batch) {
  at::Tensor total;
  for (const LocalLoss& loss : output.local_losses) {
    const std::int64_t normaliser =
        loss.normaliser == Normaliser::loss_tokens ? batch.global_loss_tokens : batch.global_sequences;
    const at::Tensor part = loss.sum.mul(loss.weight / static_cast<double>(normaliser));
    total = total.defined() ? total.add(part) : part;
  }
  if (!total.defined()) throw std::logic_error("the stage gave no loss");
  return total;
}

StepGate make_gate(bool apply, double gradient_scale, at::ScalarType dtype) {
  const auto scalar = [dtype](double value) { return at::scalar_tensor(value, dtype); };
  StepGate gate;
  gate.found_inf = scalar(apply ? 0 : 1);
  gate.norm_squared = scalar(1);
  gate.clip_factor = scalar(1);
  gate.gradient_scale = scalar(gradient_scale);
  gate.apply = scalar(apply ? 1 : 0);
  return gate;
}

std::vector<Segment> random_segments(const OptimizerTraits& traits,
                                     const std::vector<std::vector<std::int64_t>>& shapes, std::uint64_t seed,
                                     at::ScalarType dtype) {
  std::vector<Segment> segments;
  std::uint64_t draw = 0;
  const RandomStream stream(seed, "testkit/segments");
  const auto normal = [&](const std::vector<std::int64_t>& shape) {
    at::Tensor value = at::empty(shape, at::kDouble);
    auto* data = value.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < value.numel(); ++i) data[i] = stream.normal(draw++);
    return value.to(dtype);
  };
  for (const std::vector<std::int64_t>& shape : shapes) {
    Segment segment;
    segment.decay = segments.size() % 2 == 0 ? DecayClass::decay : DecayClass::no_decay;
    segment.master = normal(shape);
    segment.gradient = normal(shape);
    for (std::size_t i = 0; i < traits.states.size(); ++i) segment.states.push_back(at::zeros(shape, dtype));
    segments.push_back(std::move(segment));
  }
  return segments;
}

} // namespace conclave::testkit
