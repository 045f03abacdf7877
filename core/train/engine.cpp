// The training step.

#include "train/engine.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "plugin/guard.hpp"
#include "train/gradient_adapter.hpp"
#include "train/text_exchange.hpp"

namespace conclave::train {
namespace {

enum Input : std::int64_t { learning_rate, inverse_loss_tokens, inverse_sequences, stop_wish, input_count };

double inverse(std::int64_t count) { return count > 0 ? 1.0 / static_cast<double>(count) : 0.0; }

} // namespace

Engine::Engine(const EngineSettings& settings, EngineParts parts, std::unique_ptr<StepExecutor> executor)
    : settings_(settings),
      parts_(std::move(parts)),
      executor_(std::move(executor)),
      device_(settings.device.kind == Device::Kind::cuda
                  ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(settings.device.index))
                  : at::Device(at::kCPU)),
      master_type_(settings.compute == at::kDouble ? at::kDouble : at::kFloat),
      batch_buffers_(device_) {
  if (settings_.parallel.groups != nullptr && settings_.parallel.groups->world().size() == 1)
    settings_.parallel.groups.reset();
  if (settings_.parallel.groups != nullptr) pipeline_ = &settings_.parallel.groups->over({MeshDim::pipeline});
  shape_.ranks = settings_.parallel.mesh.size(MeshDim::pipeline);
  shape_.virtual_stages = static_cast<int>(parts_.stages.size());
}

Status Engine::prepare() {
  const EngineParallel& parallel = settings_.parallel;
  CONCLAVE_RETURN_IF_ERROR(describe_and_allocate());
  for (std::size_t c = 0; c < descriptions_.size(); ++c) {
    StageStorage storage;
    for (ParameterSlot* slot : parameters_->chunk(c)) storage.parameters.push_back({slot->value, &slot->sink});
    storage.buffers = buffers_[c]->tensors();
    CONCLAVE_RETURN_IF_ERROR(
        guard(parts_.model_id.c_str(), "bind", [&] { return parts_.stages[c]->bind(std::move(storage)); }));
  }
  for (ParameterSlot& slot : parameters_->slots()) attach_gradient_adapter(slot);

  RunnerSettings runner;
  runner.device = device_;
  runner.compute = settings_.compute;
  runner.loss = settings_.loss;
  runner.pipeline = pipeline_;
  runner.model_id = parts_.model_id;
  runner_ = std::make_unique<StageRunner>(std::move(parts_.stages), runner);
  const bool keep_type = parallel.gradient_type == at::ScalarType::Undefined;
  reducer_ = std::make_unique<GradientReducer>(
      *parameters_, ReducerSettings{keep_type ? master_type_ : parallel.gradient_type, pipeline_});

  scaler_ = std::make_unique<LossScaler>(settings_.loss_scale, device_, master_type_);
  host_.loss_scale = initial_scale(settings_.loss_scale);
  gate_ =
      std::make_unique<Gate>(GateSettings{settings_.clip_grad_norm, settings_.grad_norm_limit}, device_, master_type_);
  metrics_ = std::make_unique<StepMetrics>(settings_.domains, device_, descriptions_.size());
  CONCLAVE_ASSIGN(sums_, StepSums::make(*parameters_, buffers_,
                                        {device_, settings_.domains, parallel.mesh, parallel.groups, parts_.model_id}));
  const auto scalar = at::TensorOptions().device(device_);
  inputs_ = at::zeros({input_count}, scalar.dtype(master_type_));
  optimizer_step_ = at::zeros({}, scalar.dtype(at::kFloat));
  return {};
}

Status Engine::describe_and_allocate() {
  const EngineParallel& parallel = settings_.parallel;
  for (const auto& stage : parts_.stages) {
    auto description = guard(parts_.model_id.c_str(), "describe", [&] { return stage->describe(); });
    if (!description.ok()) return description.error();
    descriptions_.push_back(std::move(description).value());
  }
  auto traits = guard(parts_.optimizer_id.c_str(), "traits", [&] { return parts_.optimizer->traits(); });
  if (!traits.ok()) return traits.error();
  if (!traits->elementwise)
    for (const StageDescription& description : descriptions_)
      for (const ParamSpec& spec : description.parameters)
        if (!spec.placements.empty() && parallel.mesh.size(spec.placements.front().dim) > 1 &&
            spec.placements.front().dim == MeshDim::tensor)
          return unsupported("it updates whole matrices, and `" + spec.name + "` is split over " +
                                 std::to_string(parallel.mesh.size(MeshDim::tensor)) + " tensor ranks",
                             "set parallel.tensor to 1, or use an elementwise optimizer", parts_.optimizer_id);

  StorageSettings storage;
  storage.device = device_;
  storage.master = master_type_;
  storage.compute = settings_.compute;
  storage.seed = settings_.seed;
  storage.mesh = parallel.mesh;
  storage.groups = parallel.groups;
  storage.shard_optimizer = parallel.shard_optimizer && traits->elementwise;
  storage.bucket = parallel.bucket;
  CONCLAVE_ASSIGN(storage.tied, find_ties());
  CONCLAVE_ASSIGN(parameters_, ParameterStorage::make(descriptions_, storage));
  for (const StageDescription& description : descriptions_)
    buffers_.push_back(std::make_unique<BufferStorage>(description, device_));
  parameters_->allocate_states(traits->states);
  segments_ = parameters_->segments(traits->elementwise);
  optimizer_rounds_ = traits->writes_values;
  return {};
}

Result<std::map<std::string, int>> Engine::find_ties() const {
  std::map<std::string, int> ties;
  if (pipeline_ == nullptr || pipeline_->size() == 1) return ties;
  nlohmann::json own = {{"names", nlohmann::json::array()}, {"ties", nlohmann::json::array()}};
  for (const StageDescription& description : descriptions_)
    for (const ParamSpec& spec : description.parameters)
      (spec.tied_with.empty() ? own["names"] : own["ties"])
          .push_back(spec.tied_with.empty() ? spec.name : spec.tied_with);
  std::map<std::string, int> owners;
  std::vector<std::pair<std::string, int>> copies;
  int rank = 0;
  for (const std::string& text : exchange_texts(pipeline_, own.dump(), device_)) {
    const auto theirs = nlohmann::json::parse(text);
    for (const auto& name : theirs["names"]) owners[name] = rank;
    for (const auto& name : theirs["ties"]) copies.emplace_back(name, rank);
    ++rank;
  }
  for (const auto& [name, copy] : copies) {
    const auto owner = owners.find(name);
    if (owner == owners.end())
      return internal_error("a parameter is tied with `" + name + "`, which no chunk describes", parts_.model_id);
    if (owner->second == copy) continue; // one slot serves both
    if (owner->second == pipeline_->rank() && !ties.emplace(name, copy).second)
      return internal_error("parameter `" + name + "` has copies on several other ranks of the pipeline",
                            parts_.model_id);
    if (copy == pipeline_->rank())
      for (const StageDescription& description : descriptions_)
        for (const ParamSpec& spec : description.parameters)
          if (spec.tied_with == name) ties.emplace(spec.name, owner->second);
  }
  return ties;
}

Result<const PipelineSchedule*> Engine::schedule(std::size_t micro_batches) {
  if (const auto known = schedules_.find(micro_batches); known != schedules_.end()) return &known->second;
  PipelineShape shape = shape_;
  shape.micro_batches = static_cast<int>(micro_batches);
  CONCLAVE_ASSIGN(PipelineSchedule made, make_pipeline_schedule(shape));
  CONCLAVE_RETURN_IF_ERROR(check_pipeline_schedule(made, shape).status());
  return &(schedules_[micro_batches] = std::move(made));
}

Result<StepResult> Engine::step(const data::HostStep& step) {
  CONCLAVE_RETURN_IF_ERROR(check_step(step, settings_.domains));
  current_ = {&step, {}};
  CONCLAVE_ASSIGN(const StepProgram program, make_program(step));
  CONCLAVE_RETURN_IF_ERROR(executor_->run(program));
  return std::move(current_.result);
}

// What may stand in a capturable segment is said in step_program.hpp.
Result<StepProgram> Engine::make_program(const data::HostStep& step) {
  const std::size_t micro_batches = step.micro_batches.size();
  CONCLAVE_ASSIGN(const PipelineSchedule* order, schedule(micro_batches));
  const auto rank = static_cast<std::size_t>(settings_.parallel.mesh.index(MeshDim::pipeline));
  std::string key; // of the passes to come; in a pipeline, of the whole step
  StepProgram program;
  program.host("upload", [this] { return upload(); });
  if (!one_at_a_time()) {
    for (const data::HostMicroBatch& micro_batch : step.micro_batches) key += shape_key(micro_batch) + " ";
    program.capturable("begin", key, [this] { return begin(true); });
  }
  for (PipelineAction action : (*order)[rank]) {
    const auto n = static_cast<std::size_t>(action.micro_batch);
    const bool first = n == 0, last = n + 1 == micro_batches;
    const std::string name = to_string(action);
    if (one_at_a_time()) action.micro_batch = 0; // the one that was loaded: runs of equal keys are interchangeable
    if (action.kind == PipelineAction::Kind::forward) {
      if (one_at_a_time()) {
        program.host("load " + std::to_string(n), [this, n]() -> Status {
          load(n);
          return {};
        });
        key = shape_key(step.micro_batches[n]) + (first ? " first" : "") + (last ? " last" : "");
        program.capturable("begin " + std::to_string(n), key, [this, first] { return begin(first); });
      }
      program.capturable(name, key, [this, action] { return runner_->forward(action, *metrics_, true); });
    } else {
      program.capturable(name, key, [this, action, last] { return backward(action, last); });
    }
  }
  program.capturable("update", one_at_a_time() ? "update" : key, [this] { return update(); });
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
  runner_->begin(*schedule(step.micro_batches.size()).value(),
                 one_at_a_time() ? std::vector<const Batch*>(1) : batch_buffers_.fill(step));

  const at::Tensor host =
      at::empty({input_count}, at::TensorOptions().dtype(at::kDouble).pinned_memory(device_.is_cuda()));
  auto* values = host.mutable_data_ptr<double>();
  values[learning_rate] = rate;
  values[inverse_loss_tokens] = inverse(step.global_loss_tokens);
  values[inverse_sequences] = inverse(step.global_sequences);
  values[stop_wish] = stop_ ? 1 : 0;
  inputs_.copy_(host.to(device_, host.scalar_type(), /*non_blocking=*/true));
  metrics_->begin();
  return {};
}

void Engine::load(std::size_t micro_batch) { runner_->load(batch_buffers_.fill_one(*current_.step, micro_batch)); }

Status Engine::begin(bool first) {
  if (first) {
    for (const auto& buffers : buffers_) buffers->zero_counters();
    reducer_->begin_step();
  }
  for (ParameterSlot& slot : parameters_->slots()) {
    slot.value.mutable_grad().reset(); // of a step that failed half-way
    slot.sink.begin_step();
    if (!first) slot.sink.ready(); // a contribution has been made: what comes is added
  }
  return {};
}

Status Engine::backward(const PipelineAction& action, bool last) {
  const auto chunk = static_cast<std::size_t>(action.chunk);
  // A tied parameter that this chunk shares with an earlier one is that one's: it comes last.
  const auto own = [&](const ParameterSlot* slot) { return parameters_->groups()[slot->group].chunk == action.chunk; };
  if (last)
    for (ParameterSlot* slot : parameters_->chunk(chunk))
      if (own(slot)) slot->sink.begin_last_micro_batch();
  CONCLAVE_RETURN_IF_ERROR(runner_->backward(
      action, {scaler_->scale(), inputs_.select(0, inverse_loss_tokens), inputs_.select(0, inverse_sequences)}));
  if (last) return finish_chunk(chunk);
  // Whole gradients for the next micro-batch, which may be a recording of its own and knows nothing of this one's.
  if (one_at_a_time())
    for (ParameterSlot* slot : parameters_->chunk(chunk))
      if (slot->sink.overwrite()) slot->sink.gradient.zero_();
  return {};
}

Status Engine::finish_chunk(std::size_t chunk) {
  for (ParameterSlot* slot : parameters_->chunk(chunk)) {
    if (parameters_->groups()[slot->group].chunk != static_cast<int>(chunk)) continue;
    slot->sink.finish();
    if (slot->sink.received_in_last() > slot->sink.expected)
      return internal_error(
          "the gradient of parameter `" + slot->spec->name + "` got " + std::to_string(slot->sink.received_in_last()) +
              " contributions in one backward pass; its description says " + std::to_string(slot->sink.expected),
          parts_.model_id);
  }
  return {};
}

Status Engine::update() {
  const at::NoGradGuard no_grad;
  runner_->finish();
  reducer_->finish();
  CONCLAVE_RETURN_IF_ERROR(sums_->gather(*metrics_, inputs_.select(0, stop_wish)));
  gate_->decide(sums_->sum_of_squares(), scaler_->scale());
  const StepGate& gate = gate_->values();
  optimizer_step_.add_(gate.apply);
  UpdateScalars scalars;
  scalars.learning_rate = inputs_.select(0, learning_rate);
  scalars.step = optimizer_step_;
  scalars.gate = &gate;
  CONCLAVE_RETURN_IF_ERROR(
      guard(parts_.optimizer_id.c_str(), "step", [&] { parts_.optimizer->step(segments_, scalars); }));
  parameters_->publish_masters(optimizer_rounds_);
  for (const auto& stage : runner_->stages())
    CONCLAVE_RETURN_IF_ERROR(guard(parts_.model_id.c_str(), "update_buffers", [&] { stage->update_buffers(gate); }));
  scaler_->update(gate.found_inf);
  return {};
}

Status Engine::read() {
  const at::NoGradGuard no_grad;
  const data::HostStep& step = *current_.step;
  StepResult& result = current_.result;
  result.domain_tokens = count_loss_tokens(step, settings_.domains); // before the wait: the device may be at work
  const StepGate& gate = gate_->values();
  const std::vector<double> values = read_packed(
      {gate.found_inf, gate.apply, gate.norm_squared, scaler_->scale(), scaler_->growth_tracker(), sums_->tail()});
  auto next = values.begin();
  result.finite = *next++ == 0;
  result.applied = *next++ != 0;
  result.grad_norm = std::sqrt(*next++);
  result.loss_scale = host_.loss_scale = *next++;
  host_.growth_tracker = static_cast<std::int64_t>(*next++);

  const auto part = [&](std::int64_t begin, std::int64_t count) {
    return std::vector<double>(next + begin, next + begin + count);
  };
  for (const CounterEntry& counter : sums_->counters())
    if (!counter.report_as.empty())
      result.counters.push_back({counter.report_as, counter.layer, part(counter.begin, counter.elements)});
  result.domain_nll_sum = part(sums_->domains_begin(), static_cast<std::int64_t>(settings_.domains));
  for (const double sum : result.domain_nll_sum) result.nll += sum;
  result.nll *= inverse(step.global_loss_tokens);
  result.stop = next[sums_->stop_place()] > 0;
  auto sum = next + sums_->losses_begin();
  for (const LossEntry& loss : sums_->losses()) {
    const auto count = loss.normaliser == Normaliser::loss_tokens ? step.global_loss_tokens : step.global_sequences;
    const double value = *sum++ * inverse(count);
    result.losses.emplace_back(loss.name, value);
    result.loss += loss.weight * value;
  }
  ++(result.applied ? host_.optimizer_steps : host_.skipped);
  return {};
}

Result<EvaluationSums> Engine::evaluate(const data::HostStep& step) {
  CONCLAVE_RETURN_IF_ERROR(check_step(step, settings_.domains));
  const at::NoGradGuard no_grad;
  StepMetrics metrics(settings_.domains, device_, descriptions_.size());
  PipelineShape shape = shape_;
  shape.micro_batches = static_cast<int>(step.micro_batches.size());
  const PipelineSchedule order = make_forward_schedule(shape);
  std::vector<Batch> batches;
  std::vector<const Batch*> pointers;
  for (const data::HostMicroBatch& micro : step.micro_batches)
    batches.push_back(to_device(micro, device_, step.global_loss_tokens, step.global_sequences));
  for (const Batch& batch : batches) pointers.push_back(&batch);
  runner_->begin(order, std::move(pointers));
  const Mesh& mesh = settings_.parallel.mesh;
  for (const PipelineAction& action : order[static_cast<std::size_t>(mesh.index(MeshDim::pipeline))])
    CONCLAVE_RETURN_IF_ERROR(runner_->forward(action, metrics, false));
  runner_->finish();

  // Each number from one rank: losses from the last chunk's first tensor rank, counts from the first chunk's.
  std::vector<std::int64_t> counts = count_loss_tokens(step, settings_.domains);
  const bool first = mesh.index(MeshDim::tensor) == 0 && mesh.index(MeshDim::context) == 0;
  if (!first || mesh.index(MeshDim::pipeline) != 0) std::fill(counts.begin(), counts.end(), 0);
  at::Tensor sums = at::cat({metrics.domain_nll(), at::tensor(counts, at::kDouble).to(device_)});
  if (!first) sums.zero_();
  if (settings_.parallel.groups != nullptr)
    CONCLAVE_RETURN_IF_ERROR(
        guard(nullptr, nullptr, [&] { settings_.parallel.groups->world().all_reduce(sums).wait(); }));
  const std::vector<double> values = read_packed({sums});
  EvaluationSums result;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(settings_.domains);
  result.nll.assign(values.begin(), middle);
  for (auto count = middle; count != values.end(); ++count) result.tokens.push_back(static_cast<std::int64_t>(*count));
  return result;
}

Status Engine::snapshot(Snapshot& snapshot) const {
  CONCLAVE_RETURN_IF_ERROR(snapshot_tensors(*parameters_, descriptions_, buffers_, settings_.parallel.mesh, snapshot));
  StateMap& host = snapshot.states["host"];
  host["optimizer_step"] = host_.optimizer_steps;
  host["skipped"] = host_.skipped;
  if (!settings_.loss_scale.dynamic) return {};
  host["loss_scale"] = host_.loss_scale;
  host["growth_tracker"] = host_.growth_tracker;
  return {};
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
  CONCLAVE_RETURN_IF_ERROR(
      restore_tensors(reader, *parameters_, descriptions_, buffers_, settings_.parallel.groups.get(), device_));
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
