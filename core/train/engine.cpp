// The training step.

#include "train/engine.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <utility>

#include "plugin/guard.hpp"
#include "train/gradient_adapter.hpp"

namespace conclave::train {
namespace {

enum Input : std::int64_t { learning_rate, inverse_loss_tokens, inverse_sequences, input_count };

double inverse(std::int64_t count) { return count > 0 ? 1.0 / static_cast<double>(count) : 0.0; }

} // namespace

Engine::Engine(const EngineSettings& settings, EngineParts parts, StageDescription description,
               std::unique_ptr<StepExecutor> executor)
    : settings_(settings),
      parts_(std::move(parts)),
      description_(std::move(description)),
      executor_(std::move(executor)),
      device_(settings.device.kind == Device::Kind::cuda
                  ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(settings.device.index))
                  : at::Device(at::kCPU)),
      master_type_(settings.compute == at::kDouble ? at::kDouble : at::kFloat),
      batch_buffers_(device_) {}

Status Engine::prepare() {
  CONCLAVE_ASSIGN(parameters_, ParameterStorage::make(description_, {.device = device_,
                                                                     .master = master_type_,
                                                                     .compute = settings_.compute,
                                                                     .seed = settings_.seed}));
  buffers_ = std::make_unique<BufferStorage>(description_, device_);
  auto traits = guard(parts_.optimizer_id.c_str(), "traits", [&] { return parts_.optimizer->traits(); });
  if (!traits.ok()) return traits.error();
  parameters_->allocate_states(traits->states);
  segments_ = parameters_->segments(traits->elementwise);

  const auto scalar = at::TensorOptions().device(device_);
  scaler_ = std::make_unique<LossScaler>(settings_.loss_scale, device_, master_type_);
  host_.loss_scale = initial_scale(settings_.loss_scale);
  std::vector<at::Tensor> counted;
  for (const ParameterSlot* slot : parameters_->by_name())
    if (slot->spec->norm_owner) counted.push_back(slot->sink.gradient);
  gate_ = std::make_unique<Gate>(GateSettings{settings_.clip_grad_norm, settings_.grad_norm_limit}, std::move(counted),
                                 device_, master_type_);
  metrics_ = std::make_unique<StepMetrics>(settings_.domains, device_);
  inputs_ = at::zeros({input_count}, scalar.dtype(master_type_));
  optimizer_step_ = at::zeros({}, scalar.dtype(at::kFloat));

  StageStorage storage;
  for (ParameterSlot& slot : parameters_->slots()) {
    attach_gradient_adapter(slot);
    storage.parameters.push_back({slot.value, &slot.sink});
  }
  storage.buffers = buffers_->tensors();
  return guard(parts_.model_id.c_str(), "bind", [&] { return parts_.stage->bind(std::move(storage)); });
}

Result<StepResult> Engine::step(const data::HostStep& step) {
  CONCLAVE_RETURN_IF_ERROR(check_step(step, settings_.domains));
  current_ = {&step, {}, {}};
  CONCLAVE_RETURN_IF_ERROR(executor_->run(make_program(step.micro_batches.size()), shape_key(step)));
  return std::move(current_.result);
}

// What may stand in a capturable segment is said in step_program.hpp.
StepProgram Engine::make_program(std::size_t micro_batches) {
  StepProgram program;
  program.host("upload", [this] { return upload(); });
  program.capturable("begin", [this] { return begin(); });
  for (std::size_t i = 0; i < micro_batches; ++i) {
    const bool last = i + 1 == micro_batches;
    program.capturable("forward and backward " + std::to_string(i),
                       [this, i, last] { return forward_backward(i, last); });
  }
  program.capturable("update", [this] { return update(); });
  program.host("read", [this] { return read(); });
  return program;
}

Result<double> Engine::scheduled_rate() const {
  CONCLAVE_ASSIGN(const double peak, guard(parts_.optimizer_id.c_str(), "peak_learning_rate",
                                           [&] { return parts_.optimizer->peak_learning_rate(); }));
  double rate = peak;
  if (parts_.scheduler) {
    CONCLAVE_ASSIGN(rate, guard(parts_.scheduler_id.c_str(), "learning_rate", [&] {
                      return parts_.scheduler->learning_rate(host_.optimizer_steps, {settings_.total_steps, peak});
                    }));
  }
  if (!std::isfinite(rate) || rate < 0)
    return internal_error(
        "the learning rate of optimizer step " + std::to_string(host_.optimizer_steps) + " is " + std::to_string(rate),
        parts_.scheduler ? parts_.scheduler_id : parts_.optimizer_id);
  return rate;
}

Status Engine::upload() {
  const data::HostStep& step = *current_.step;
  CONCLAVE_ASSIGN(const double rate, scheduled_rate());
  current_.result.learning_rate = rate;
  current_.result.loss_tokens = step.global_loss_tokens;
  current_.batches = batch_buffers_.fill(step);

  const at::Tensor host =
      at::empty({input_count}, at::TensorOptions().dtype(at::kDouble).pinned_memory(device_.is_cuda()));
  auto* values = host.mutable_data_ptr<double>();
  values[learning_rate] = rate;
  values[inverse_loss_tokens] = inverse(step.global_loss_tokens);
  values[inverse_sequences] = inverse(step.global_sequences);
  inputs_.copy_(host.to(device_, host.scalar_type(), /*non_blocking=*/true));
  metrics_->begin();
  return {};
}

Status Engine::begin() {
  buffers_->zero_counters();
  for (ParameterSlot& slot : parameters_->slots()) {
    slot.value.mutable_grad().reset(); // of a step that failed half-way
    slot.sink.begin_step();
  }
  return {};
}

Result<StageOutput> Engine::forward(const Batch& batch, bool training) {
  StageInput input;
  input.batch = &batch;
  input.loss = settings_.loss;
  input.training = training;
  return guard(parts_.model_id.c_str(), "forward", [&] { return parts_.stage->forward(input); });
}

Status Engine::count(StepMetrics& metrics, const StageOutput& output, const Batch& batch) const {
  return guard(parts_.model_id.c_str(), "forward", [&] { return metrics.add(output, batch); });
}

Status Engine::forward_backward(std::size_t micro_batch, bool last) {
  const Batch& batch = *current_.batches[micro_batch];
  if (last)
    for (ParameterSlot& slot : parameters_->slots()) slot.sink.begin_last_micro_batch();
  CONCLAVE_ASSIGN(const StageOutput output, forward(batch, true));
  CONCLAVE_RETURN_IF_ERROR(count(*metrics_, output, batch));

  // Data-parallel gradients are summed, so the seed divides by the global count and never by a rank's own.
  torch::autograd::variable_list roots, seeds;
  for (const LocalLoss& loss : output.local_losses) {
    if (loss.weight == 0 || !loss.sum.requires_grad()) continue;
    const Input inverse_index = loss.normaliser == Normaliser::loss_tokens ? inverse_loss_tokens : inverse_sequences;
    roots.push_back(loss.sum);
    seeds.push_back((scaler_->scale() * inputs_.select(0, inverse_index)).mul_(loss.weight).to(loss.sum.scalar_type()));
  }
  if (roots.empty())
    return internal_error("the model returned no loss that depends on its parameters", parts_.model_id);
  CONCLAVE_RETURN_IF_ERROR(
      guard(parts_.model_id.c_str(), "backward", [&] { torch::autograd::backward(roots, seeds); }));
  return last ? finish_gradients() : Status{};
}

Status Engine::finish_gradients() {
  for (ParameterSlot& slot : parameters_->slots()) {
    slot.sink.finish();
    if (slot.sink.received_in_last() > slot.sink.expected)
      return internal_error(
          "the gradient of parameter `" + slot.spec->name + "` got " + std::to_string(slot.sink.received_in_last()) +
              " contributions in one backward pass; its description says " + std::to_string(slot.sink.expected),
          parts_.model_id);
  }
  return {};
}

Status Engine::update() {
  const at::NoGradGuard no_grad;
  gate_->decide(scaler_->scale());
  const StepGate& gate = gate_->values();
  optimizer_step_.add_(gate.apply);
  UpdateScalars scalars;
  scalars.learning_rate = inputs_.select(0, learning_rate);
  scalars.step = optimizer_step_;
  scalars.gate = &gate;
  CONCLAVE_RETURN_IF_ERROR(
      guard(parts_.optimizer_id.c_str(), "step", [&] { parts_.optimizer->step(segments_, scalars); }));
  parameters_->refresh_compute();
  CONCLAVE_RETURN_IF_ERROR(
      guard(parts_.model_id.c_str(), "update_buffers", [&] { parts_.stage->update_buffers(gate); }));
  scaler_->update(gate.found_inf);
  return {};
}

Status Engine::read() {
  const at::NoGradGuard no_grad;
  const data::HostStep& step = *current_.step;
  StepResult& result = current_.result;
  result.domain_tokens = count_loss_tokens(step, settings_.domains); // before the wait: the device may be at work
  const StepGate& gate = gate_->values();
  std::vector<at::Tensor> parts = {
      gate.found_inf,        gate.apply, gate.norm_squared, scaler_->scale(), scaler_->growth_tracker(),
      metrics_->domain_nll()};
  for (const LossSum& loss : metrics_->losses()) parts.push_back(loss.sum);
  parts.push_back(buffers_->reported());
  const std::vector<double> values = read_packed(parts);
  auto next = values.begin();

  result.finite = *next++ == 0;
  result.applied = *next++ != 0;
  result.grad_norm = std::sqrt(*next++);
  result.loss_scale = host_.loss_scale = *next++;
  host_.growth_tracker = static_cast<std::int64_t>(*next++);
  result.domain_nll_sum.assign(next, next + static_cast<std::ptrdiff_t>(settings_.domains));
  next += static_cast<std::ptrdiff_t>(settings_.domains);
  for (const double sum : result.domain_nll_sum) result.nll += sum;
  result.nll *= inverse(step.global_loss_tokens);
  for (const LossSum& loss : metrics_->losses()) {
    const auto count = loss.normaliser == Normaliser::loss_tokens ? step.global_loss_tokens : step.global_sequences;
    const double value = *next++ * inverse(count);
    result.losses.emplace_back(loss.name, value);
    result.loss += loss.weight * value;
  }
  for (const BufferSpec* spec : buffers_->reported_specs()) {
    std::int64_t count = 1;
    for (const std::int64_t size : spec->shape) count *= size;
    result.counters.push_back({spec->report_as, spec->layer, {next, next + count}});
    next += count;
  }
  ++(result.applied ? host_.optimizer_steps : host_.skipped);
  return {};
}

Result<EvaluationSums> Engine::evaluate(const data::HostStep& step) {
  CONCLAVE_RETURN_IF_ERROR(check_step(step, settings_.domains));
  const at::NoGradGuard no_grad;
  StepMetrics sums(settings_.domains, device_);
  for (const data::HostMicroBatch& micro : step.micro_batches) {
    const Batch batch = to_device(micro, device_, step.global_loss_tokens, step.global_sequences);
    CONCLAVE_ASSIGN(const StageOutput output, forward(batch, false));
    CONCLAVE_RETURN_IF_ERROR(count(sums, output, batch));
  }
  return EvaluationSums{read_packed({sums.domain_nll()}), count_loss_tokens(step, settings_.domains)};
}

void Engine::snapshot(Snapshot& snapshot) const {
  snapshot_tensors(*parameters_, description_, *buffers_, snapshot);
  StateMap& host = snapshot.states["host"];
  host["optimizer_step"] = host_.optimizer_steps;
  host["skipped"] = host_.skipped;
  if (!settings_.loss_scale.dynamic) return;
  host["loss_scale"] = host_.loss_scale;
  host["growth_tracker"] = host_.growth_tracker;
}

Status Engine::restore(const CheckpointReader& reader) {
  const at::NoGradGuard no_grad;
  const auto owner = reader.states().find("host");
  HostMirror mirror;
  auto scalar = [&](const char* name, auto& out) -> Status {
    if (owner != reader.states().end()) {
      const auto found = owner->second.find(name);
      if (found != owner->second.end())
        if (const auto* value = std::get_if<std::remove_reference_t<decltype(out)>>(&found->second)) {
          out = *value;
          return {};
        }
    }
    return storage_error("the checkpoint's state has no `host." + std::string(name) + "`",
                         "resume from another checkpoint", reader.path().string());
  };
  CONCLAVE_RETURN_IF_ERROR(scalar("optimizer_step", mirror.optimizer_steps));
  CONCLAVE_RETURN_IF_ERROR(scalar("skipped", mirror.skipped));
  // Another precision, which `run` has allowed, wrote no scale or needs none.
  mirror.loss_scale = initial_scale(settings_.loss_scale);
  if (settings_.loss_scale.dynamic && owner->second.contains("loss_scale")) {
    CONCLAVE_RETURN_IF_ERROR(scalar("loss_scale", mirror.loss_scale));
    CONCLAVE_RETURN_IF_ERROR(scalar("growth_tracker", mirror.growth_tracker));
  }
  CONCLAVE_RETURN_IF_ERROR(restore_tensors(reader, *parameters_, description_, *buffers_));
  host_ = mirror;
  scaler_->restore(host_.loss_scale, host_.growth_tracker);
  optimizer_step_.fill_(static_cast<double>(host_.optimizer_steps));
  return {};
}

at::Tensor Engine::master(const std::string& name) const {
  const ParameterSlot* slot = parameters_->find(name);
  return slot != nullptr ? slot->master : at::Tensor();
}

at::Tensor Engine::gradient(const std::string& name) const {
  const ParameterSlot* slot = parameters_->find(name);
  return slot != nullptr ? slot->sink.gradient : at::Tensor();
}

} // namespace conclave::train
