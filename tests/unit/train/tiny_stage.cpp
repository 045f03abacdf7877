// The tiny stage and its surroundings.

#include "tiny_stage.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <stdexcept>

namespace conclave::testing {
namespace {

ParamSpec parameter(std::string name, std::vector<std::int64_t> shape, DecayClass decay = DecayClass::decay) {
  ParamSpec spec;
  spec.name = name;
  spec.shape = shape;
  const Box whole{std::vector<std::int64_t>(shape.size(), 0), shape};
  spec.pieces = {{std::move(name), shape, whole, whole}};
  spec.decay = decay;
  spec.init.scale = 0.5;
  return spec;
}

std::vector<std::int64_t> strides_of(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

} // namespace

StageDescription TinyStage::describe() const {
  StageDescription description;
  // w1 is one tensor of two named halves, stacked along a new axis; the local one has a padding row at the end.
  ParamSpec w1;
  w1.name = "w1.fused";
  w1.shape = {hidden + 1, width};
  const std::int64_t half = hidden / 2;
  for (int i = 0; i < 2; ++i)
    w1.pieces.push_back(
        {"w1." + std::to_string(i), {half, width}, {{0, 0}, {half, width}}, {{i * half, 0}, {half, width}}});
  w1.init.scale = 0.5;
  description.parameters = {parameter("embed", {vocabulary, width}), w1,
                            parameter("b1", {hidden}, DecayClass::no_decay), parameter("w2", {width, hidden})};
  description.parameters[2].full_precision = true;
  for (ParamSpec& spec : description.parameters) spec.replicated_over = spec.grad_sum_over = {MeshDim::data};
  BufferSpec load{"load", {3}, at::kLong, BufferUse::counter, "expert_load", 0};
  BufferSpec bias{"bias", {3}, at::kFloat, BufferUse::state, "", -1};
  description.buffers = {load, bias};
  return description;
}

Status TinyStage::bind(StageStorage storage) {
  bound = std::move(storage);
  return {};
}

StageOutput TinyStage::forward(const StageInput& input) {
  if (throws) throw std::runtime_error("no forward today");
  const Batch& batch = *input.batch;
  const at::Tensor& embed = bound.parameters[0].value;
  const at::Tensor w1 = bound.parameters[1].value.narrow(0, 0, hidden);
  const at::Tensor b1 = bound.parameters[2].value.to(compute);
  at::Tensor h = at::linear(at::embedding(embed, batch.tokens), w1);
  if (!skip_bias) h = h + b1;
  h = at::tanh(h);
  const at::Tensor logits = at::matmul(at::linear(h, bound.parameters[3].value), embed.t()).to(master);
  const at::Tensor log_p = at::log_softmax(logits, -1);
  const at::Tensor nll = -log_p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1);
  const at::Tensor counted = at::where(batch.loss_mask, nll, at::zeros({}, nll.options()));
  if (input.training) {
    const at::Tensor kinds = at::arange(3, at::kLong).unsqueeze(1);
    bound.buffers[0].add_(kinds.eq(batch.tokens.reshape({1, -1}).remainder(3)).sum(1));
  }
  StageOutput output;
  output.local_losses = {{"cross_entropy", counted.sum() * loss_factor, 1, Normaliser::loss_tokens},
                         {"extra", h.to(master).square().mean(-1).mean(-1).sum(), 0.1, Normaliser::sequences}};
  output.token_nll = counted.detach();
  return output;
}

void TinyStage::update_buffers(const StepGate& gate) {
  bound.buffers[1].add_(bound.buffers[0] * gate.apply.to(at::kFloat));
}

void Momentum::step(std::span<Segment> segments, const UpdateScalars& scalars) {
  seen.assign(segments.begin(), segments.end());
  const at::Tensor apply = scalars.gate->apply.ne(0);
  for (Segment& segment : segments) {
    const at::Tensor next = segment.states[0] * 0.9 + segment.gradient * scalars.gate->gradient_scale;
    segment.master.copy_(at::where(apply, segment.master - scalars.learning_rate * next, segment.master));
    segment.states[0].copy_(at::where(apply, next, segment.states[0]));
  }
}

EngineSettings settings_for(at::ScalarType compute) {
  EngineSettings settings;
  settings.compute = compute;
  settings.seed = 7;
  settings.domains = 2;
  settings.loss_scale.dynamic = compute == at::kHalf;
  return settings;
}

EngineParts parts_of(std::unique_ptr<Stage> stage, std::shared_ptr<Optimizer> optimizer,
                     std::shared_ptr<const Scheduler> scheduler) {
  EngineParts parts;
  parts.stages.push_back(std::move(stage));
  parts.optimizer = std::move(optimizer);
  parts.scheduler = std::move(scheduler);
  parts.model_id = "model/tiny";
  parts.optimizer_id = "optimizer/momentum";
  parts.scheduler_id = "scheduler/tiny";
  return parts;
}

Harness::Harness(EngineSettings settings, bool elementwise) : optimizer(std::make_shared<Momentum>(elementwise)) {
  at::set_num_threads(1); // a handful of numbers: on a busy machine waiting for threads would take longer than the work
  const auto master = settings.compute == at::kDouble ? at::kDouble : at::kFloat;
  auto owned = std::make_unique<TinyStage>(settings.compute, master);
  stage = owned.get();
  auto made = make_step_engine(settings, parts_of(std::move(owned), optimizer));
  if (!made.ok()) throw std::runtime_error(made.error().render());
  engine = std::move(made).value();
}

StepResult Harness::step(const data::HostStep& step) {
  auto result = engine->step(step);
  if (!result.ok()) throw std::runtime_error(result.error().render());
  return std::move(result).value();
}

data::HostStep make_step(std::int64_t index, std::int64_t rows, std::int64_t micro_batches) {
  constexpr std::int64_t length = 5;
  data::HostStep step;
  step.batch_index = index;
  step.global_sequences = rows;
  const std::int64_t each = rows / micro_batches;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    data::HostMicroBatch micro;
    micro.rows = each;
    micro.length = length;
    for (std::int64_t row = m * each; row < (m + 1) * each; ++row) {
      micro.domains.push_back(row % 2);
      for (std::int64_t i = 0; i < length; ++i) {
        const bool padding = row % 3 == 2 && i == length - 1;
        auto token = [&](std::int64_t at) { return (index * 31 + row * 17 + at * at * 5 + at) % vocabulary; };
        micro.tokens.push_back(padding ? 0 : token(i));
        micro.labels.push_back(padding ? 0 : token(i + 1));
        micro.position_ids.push_back(i);
        micro.loss_mask.push_back(padding ? 0 : 1);
        micro.token_mask.push_back(padding ? 0 : 1);
        step.global_loss_tokens += padding ? 0 : 1;
      }
    }
    step.micro_batches.push_back(std::move(micro));
  }
  return step;
}

MemoryCheckpoint::MemoryCheckpoint(const StepEngine& engine) {
  Snapshot snapshot;
  if (const Status status = engine.snapshot(snapshot); !status.ok()) throw std::runtime_error(status.error().render());
  states_ = snapshot.states;
  for (const TensorShard& shard : snapshot.tensors) {
    at::Tensor& whole = tensors[shard.name];
    if (!whole.defined()) whole = at::zeros(shard.global_shape, shard.value.options());
    at::Tensor box = whole;
    for (std::size_t axis = 0; axis < shard.offset.size(); ++axis)
      box = box.narrow(static_cast<std::int64_t>(axis), shard.offset[axis],
                       shard.value.size(static_cast<std::int64_t>(axis)));
    box.copy_(shard.value);
  }
}

std::vector<std::string> MemoryCheckpoint::tensor_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

Result<std::vector<std::int64_t>> MemoryCheckpoint::shape(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return invalid("no tensor " + name);
  return found->second.sizes().vec();
}

Status MemoryCheckpoint::read(const std::string& name, const std::vector<std::int64_t>& offset, at::Tensor out) const {
  const at::Tensor& whole = tensors.at(name);
  std::int64_t first = 0;
  const auto strides = strides_of(whole.sizes().vec());
  for (std::size_t axis = 0; axis < offset.size(); ++axis) first += offset[axis] * strides[axis];
  out.copy_(whole.as_strided(out.sizes(), strides, first));
  return {};
}

} // namespace conclave::testing
