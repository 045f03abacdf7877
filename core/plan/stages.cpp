// Making and describing stages in the check phase.

#include "plan/stages.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "plugin/guard.hpp"
#include "train/storage.hpp"

namespace conclave::plan {

Types types_of(const Experiment& experiment) {
  switch (experiment.precision.compute) {
    case Compute::bf16: return {at::kBFloat16, at::kFloat};
    case Compute::fp16: return {at::kHalf, at::kFloat};
    case Compute::fp64: return {at::kDouble, at::kDouble};
    case Compute::fp32: break;
  }
  return {at::kFloat, at::kFloat};
}

std::int64_t size_of(at::ScalarType type) { return static_cast<std::int64_t>(c10::elementSize(type)); }

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

std::int64_t count(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

namespace {

/// The first rank of that pipeline stage.
Mesh at_pipeline_rank(const Mesh& mesh, int rank) {
  std::array<int, mesh_dim_count> size{}, index{};
  for (std::size_t dim = 0; dim < mesh_dim_count; ++dim) size[dim] = mesh.size(static_cast<MeshDim>(dim));
  index[static_cast<std::size_t>(MeshDim::pipeline)] = rank;
  return Mesh(size, index);
}

/// The chunks of `mesh`'s rank for micro-batches of `rows` sequences of `length` tokens.
Result<std::vector<PlannedChunk>> plan_chunks(const Subject& subject, const Mesh& mesh, std::int64_t rows,
                                              std::int64_t length) {
  const Experiment& experiment = *subject.experiment;
  const char* id = experiment.model.id.c_str();
  const int ranks = mesh.size(MeshDim::pipeline);
  StageRequest request;
  request.shape = subject.shape;
  request.mesh = mesh;
  request.chunks = ranks * experiment.parallel.virtual_stages;
  request.compute = types_of(experiment).compute;
  request.master = types_of(experiment).master;
  request.recompute = experiment.train.recompute ? Recompute::layer : Recompute::none;
  request.device = {Device::Kind::cuda, 0};
  const auto make = [&](int chunk) {
    request.chunk = chunk;
    return guard(id, "make_stage", [&] { return subject.model->make_stage(request); });
  };
  const auto message = [&](const Stage& stage) {
    return guard(id, "input_shape", [&]() -> std::int64_t {
      const std::vector<std::int64_t> shape = stage.input_shape(rows, length);
      return shape.empty() ? 0 : count(shape) * size_of(request.compute);
    });
  };
  std::vector<PlannedChunk> chunks;
  for (int chunk = mesh.index(MeshDim::pipeline); chunk < request.chunks; chunk += ranks) {
    CONCLAVE_ASSIGN(const std::unique_ptr<Stage> stage, make(chunk));
    PlannedChunk& planned = chunks.emplace_back();
    CONCLAVE_ASSIGN(planned.description, guard(id, "describe", [&] { return stage->describe(); }));
    CONCLAVE_ASSIGN(planned.activations,
                    guard(id, "activation_bytes", [&] { return stage->activation_bytes(rows, length); }));
    CONCLAVE_ASSIGN(planned.work, guard(id, "work", [&] { return stage->work(rows, length); }));
    CONCLAVE_ASSIGN(planned.input_bytes, message(*stage));
  }
  return chunks;
}

Result<Batches> batches_of(const Experiment& experiment, const Mesh& mesh) {
  const std::int64_t batch = experiment.train.batch, data = mesh.size(MeshDim::data);
  const std::int64_t rows = experiment.train.micro_batch > 0 ? experiment.train.micro_batch.value : batch / data;
  const std::int64_t unit = rows * data;
  if (unit == 0 || batch % unit != 0)
    return invalid("train.batch " + std::to_string(batch) + " is no multiple of micro_batch x data ranks = " +
                       std::to_string(std::max<std::int64_t>(rows, 1)) + " x " + std::to_string(data) + " = " +
                       std::to_string(std::max<std::int64_t>(rows, 1) * data),
                   "change train.batch, train.micro_batch or the number of data ranks");
  return Batches{batch / unit, rows, experiment.data.length.max};
}

} // namespace

Result<PlannedLayout> plan_layout(const Subject& subject, const Mesh& mesh) {
  PlannedLayout layout;
  layout.mesh = mesh;
  CONCLAVE_ASSIGN(layout.batches, batches_of(*subject.experiment, mesh));
  layout.shape.ranks = mesh.size(MeshDim::pipeline);
  layout.shape.virtual_stages = subject.experiment->parallel.virtual_stages;
  // More than an int holds are as many of the same remainder, which says whether they interleave.
  const std::int64_t most = (std::int64_t{1} << 30) / layout.shape.ranks * layout.shape.ranks;
  const std::int64_t micro_batches = layout.batches.count;
  layout.shape.micro_batches =
      static_cast<int>(micro_batches > most ? most + micro_batches % layout.shape.ranks : micro_batches);
  for (int rank = 0; rank < layout.shape.ranks; ++rank) {
    CONCLAVE_ASSIGN(auto chunks,
                    plan_chunks(subject, at_pipeline_rank(mesh, rank), layout.batches.rows, layout.batches.length));
    layout.ranks.push_back(std::move(chunks));
  }
  // What a chunk sends is what the next one takes, which is the next rank's, or after the last rank the first one's.
  const std::size_t ranks = layout.ranks.size(), own_chunks = layout.ranks.front().size();
  for (std::size_t rank = 0; rank < ranks; ++rank)
    for (std::size_t own = 0; own < own_chunks; ++own) {
      const std::size_t next = own + (rank + 1) / ranks;
      if (next < own_chunks) layout.ranks[rank][own].output_bytes = layout.ranks[(rank + 1) % ranks][next].input_bytes;
    }
  return layout;
}

std::vector<PlannedGroup> plan_groups(const Subject& subject, const Mesh& mesh,
                                      const std::vector<PlannedChunk>& chunks) {
  const Types types = types_of(*subject.experiment);
  const ParallelSection& parallel = subject.experiment->parallel;
  // Which parameters share a group decides only where padding falls; what matters is over which ranks it is shared.
  std::map<std::pair<std::set<MeshDim>, bool>, std::int64_t> elements;
  std::set<std::string> here;
  for (const PlannedChunk& chunk : chunks)
    for (const ParamSpec& spec : chunk.description.parameters) {
      if (!spec.tied_with.empty() && here.contains(spec.tied_with)) continue; // one copy serves both chunks
      here.insert(spec.name);
      elements[{{spec.grad_sum_over.begin(), spec.grad_sum_over.end()}, spec.full_precision}] +=
          rounded_up(count(spec.shape), train::alignment);
    }
  std::vector<PlannedGroup> groups;
  for (const auto& [key, sum] : elements) {
    const auto& [dims, full_precision] = key;
    PlannedGroup& group = groups.emplace_back();
    group.over.assign(dims.begin(), dims.end());
    for (const MeshDim dim : dims) group.ranks *= mesh.size(dim);
    group.size = rounded_up(sum, train::alignment * group.ranks);
    group.owned = group.size / group.ranks;
    group.held = parallel.shard_optimizer && subject.optimizer.elementwise ? group.owned : group.size;
    group.value = full_precision ? types.master : types.compute;
    group.travels = parallel.gradients == GradientType::bf16 ? at::kBFloat16 : types.master;
  }
  return groups;
}

} // namespace conclave::plan
