// Making and describing stages in the check phase.

#include "plan/stages.hpp"

#include <array>
#include <functional>
#include <memory>
#include <numeric>

#include "plugin/guard.hpp"

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

std::int64_t count(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Mesh at_pipeline_rank(const Mesh& mesh, int rank) {
  std::array<int, mesh_dim_count> size{}, index{};
  for (std::size_t dim = 0; dim < mesh_dim_count; ++dim) size[dim] = mesh.size(static_cast<MeshDim>(dim));
  index[static_cast<std::size_t>(MeshDim::pipeline)] = rank;
  return Mesh(size, index);
}

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
    CONCLAVE_ASSIGN(planned.input_bytes, message(*stage));
    if (chunk + 1 == request.chunks) continue;
    CONCLAVE_ASSIGN(const std::unique_ptr<Stage> next, make(chunk + 1));
    CONCLAVE_ASSIGN(planned.output_bytes, message(*next));
  }
  return chunks;
}

} // namespace conclave::plan
