// Engines in threads, and what they leave behind.

#include "small_run.hpp"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "conclave/testkit_ranks.hpp"
#include "support/plugins_from_json.hpp"

namespace conclave::testing {

std::string name_of(const Layout& l) {
  std::string name = "pp" + std::to_string(l.pipeline);
  if (l.virtual_stages > 1) name += "x" + std::to_string(l.virtual_stages);
  return name + "_dp" + std::to_string(l.data) + "_tp" + std::to_string(l.tensor) + "_ep" + std::to_string(l.expert) +
         (l.shard ? "" : "_whole");
}

nlohmann::json all_features(bool tied) {
  return {{"layers", 4},
          {"width", 32},
          {"heads", 8},
          {"kv_heads", 2},
          {"experts", 8},
          {"top_k", 2},
          {"expert_width", 24},
          {"shared_experts", 1},
          {"dense_layers", 1},
          {"dense_width", 48},
          {"qk_norm", true},
          {"tie_embeddings", tied},
          {"router", {{"bias_update_rate", 0.001}}},
          {"hierarchy", {{"local_layers", 2}, {"window", 5}, {"head_gates", true}}}};
}

namespace {

at::Tensor box(at::Tensor view, const std::vector<std::int64_t>& offset, at::IntArrayRef size) {
  for (std::size_t axis = 0; axis < offset.size(); ++axis)
    view = view.narrow(static_cast<std::int64_t>(axis), offset[axis], size[axis]);
  return view;
}

/// The micro-batches of one data rank: the global batch of 16 sequences in micro-batches of 2.
data::HostStep make_step(std::int64_t index, int rank, int ranks) {
  data::HostStep step;
  step.batch_index = index;
  step.global_sequences = rows;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t real = r % 4 == 3 ? length - 3 : length;
    step.global_loss_tokens += real;
    if (r / micro_rows % ranks != rank) continue;
    if (r % micro_rows == 0) {
      data::HostMicroBatch& micro = step.micro_batches.emplace_back();
      micro.rows = micro_rows;
      micro.length = length;
    }
    data::HostMicroBatch& micro = step.micro_batches.back();
    micro.domains.push_back(r % 2);
    for (std::int64_t i = 0; i < length; ++i) {
      const auto token = [&](std::int64_t at) { return (index * 131 + r * 17 + at * at * 7 + at * 3) % vocabulary; };
      micro.tokens.push_back(i < real ? token(i) : 0);
      micro.labels.push_back(i < real ? token(i + 1) : 0);
      micro.position_ids.push_back(i);
      micro.loss_mask.push_back(i < real);
      micro.token_mask.push_back(i < real);
    }
  }
  return step;
}

} // namespace

void Assembled::add(const StepEngine& engine) {
  Snapshot snapshot;
  const Status status = engine.snapshot(snapshot);
  if (!status.ok()) throw std::runtime_error(status.error().render());
  const std::lock_guard lock(mutex_);
  states_ = snapshot.states;
  for (const TensorShard& shard : snapshot.tensors) {
    at::Tensor& whole = tensors[shard.name];
    if (!whole.defined()) {
      whole = at::zeros(shard.global_shape, shard.value.options());
      times_[shard.name] = at::zeros(shard.global_shape, at::kInt);
    }
    box(whole, shard.offset, shard.value.sizes()).copy_(shard.value);
    box(times_[shard.name], shard.offset, shard.value.sizes()).add_(1);
  }
}

void Assembled::expect_each_element_once() const {
  for (const auto& [name, times] : times_) EXPECT_TRUE(times.eq(1).all().item<bool>()) << name;
}

std::vector<std::string> Assembled::tensor_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

Status Assembled::read(const std::string& name, const std::vector<std::int64_t>& offset, at::Tensor out) const {
  out.copy_(box(tensors.at(name), offset, out.sizes()));
  return {};
}

void train(const Network& network, const Layout& layout, std::int64_t first, std::int64_t last, Trained& out,
           const CheckpointReader* from) {
  const testkit::RankSizes sizes{layout.pipeline, layout.data, layout.tensor, layout.expert};
  testkit::run_ranks(sizes, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
    const auto plugin = load_plugin<Model>(MODEL_FILE, "model/moe-transformer", network.options);
    EngineSettings settings;
    settings.compute = network.compute;
    settings.seed = 11;
    settings.domains = 2;
    settings.loss = {0.1, 1e-4};
    settings.clip_grad_norm = 0.5;
    settings.parallel.mesh = mesh;
    settings.parallel.groups = groups;
    settings.parallel.shard_optimizer = layout.shard;
    settings.parallel.bucket = network.bucket;
    EngineParts parts;
    const int chunks = layout.pipeline * layout.virtual_stages;
    for (int c = 0; c < layout.virtual_stages; ++c) {
      StageRequest request;
      request.shape = {vocabulary, length};
      request.mesh = mesh;
      request.chunk = c * layout.pipeline + mesh.index(MeshDim::pipeline);
      request.chunks = chunks;
      request.compute = network.compute;
      request.master = network.compute == at::kDouble ? at::kDouble : at::kFloat;
      request.recompute = network.recompute ? Recompute::layer : Recompute::none;
      request.groups = groups;
      auto stage = plugin->make_stage(request);
      if (!stage.ok()) throw std::runtime_error(stage.error().render());
      parts.stages.push_back(std::move(stage).value());
    }
    parts.optimizer = load_plugin<Optimizer>(OPTIMIZER_FILE, "optimizer/adamw", {{"lr", 1e-3}});
    auto engine = make_step_engine(settings, std::move(parts));
    if (!engine.ok()) throw std::runtime_error(engine.error().render());
    if (from != nullptr)
      if (const Status restored = (*engine)->restore(*from); !restored.ok())
        throw std::runtime_error(restored.error().render());
    const bool corner = mesh.index(MeshDim::data) == 0 && mesh.index(MeshDim::tensor) == 0;
    const bool tells = corner && mesh.index(MeshDim::pipeline) == 0;
    std::map<std::string, Traffic> before;
    for (const Group* group : groups->all()) before[group->name()] = group->traffic();
    for (std::int64_t i = first; i < last; ++i) {
      auto result = (*engine)->step(make_step(i, mesh.index(MeshDim::data), layout.data));
      if (!result.ok()) throw std::runtime_error(result.error().render());
      if (tells) out.steps.push_back(std::move(result).value());
    }
    const auto sent = [&] {
      std::map<std::string, Traffic> difference;
      for (const Group* group : groups->all()) (difference[group->name()] = group->traffic()) -= before[group->name()];
      return difference;
    };
    if (tells) out.first_sent = sent();
    if (tells) out.first_descriptions = (*engine)->descriptions();
    if (corner && mesh.index(MeshDim::pipeline) == layout.pipeline - 1) out.last_sent = sent();
    out.state.add(**engine);
  });
  out.state.expect_each_element_once();
}

} // namespace conclave::testing
