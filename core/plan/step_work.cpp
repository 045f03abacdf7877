// Stages as they are described, gradients as flat groups reduce them.

#include "plan/step_work.hpp"

#include <cstddef>

namespace conclave::plan {
namespace {

/// Read and written for an element that has states: its gradient for the norm and for the update, master and states both
/// ways, and the value, where that is another.
double update_bytes(const PlannedGroup& group, std::size_t states, at::ScalarType master) {
  const auto wide = static_cast<double>(size_of(master));
  const double value = group.value != master ? static_cast<double>(size_of(group.value)) : 0;
  return static_cast<double>(group.held) * (wide * (4 + 2 * static_cast<double>(states)) + value);
}

RankWork rank_work(const Subject& subject, const Mesh& mesh, const std::vector<PlannedChunk>& chunks) {
  RankWork work;
  for (const PlannedChunk& chunk : chunks)
    work.chunks.push_back(
        {chunk.work, static_cast<double>(chunk.input_bytes), static_cast<double>(chunk.output_bytes)});
  for (const PlannedGroup& group : plan_groups(subject, mesh, chunks)) {
    work.update_bytes += update_bytes(group, subject.optimizer.states.size(), types_of(*subject.experiment).master);
    if (group.ranks == 1) continue;
    const auto size = static_cast<double>(group.size);
    const double gathered = group.held < group.size ? size * static_cast<double>(size_of(group.value)) : 0;
    work.sums.push_back({group.over, size * static_cast<double>(size_of(group.travels)), gathered});
  }
  return work;
}

} // namespace

Result<StepWork> step_work(const Subject& subject, const PlannedLayout& layout) {
  const Experiment& experiment = *subject.experiment;
  StepWork work;
  work.mesh = layout.mesh;
  work.shape = layout.shape;
  work.compute = experiment.precision.compute;
  work.graphs = experiment.train.cuda_graphs && layout.mesh.world_size() == 1;
  for (const std::vector<PlannedChunk>& chunks : layout.ranks) {
    for (const PlannedChunk& chunk : chunks)
      if (chunk.work.forward.operators.empty())
        return unsupported("the model does not say what its stages compute",
                           "a model that a time is planned for has Stage::work()", experiment.model.id);
    work.ranks.push_back(rank_work(subject, layout.mesh, chunks));
  }
  return work;
}

} // namespace conclave::plan
