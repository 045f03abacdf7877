// Sums over descriptions, and a schedule played with sizes.

#include "plan/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "plan/stages.hpp"
#include "train/pipeline_schedule.hpp"
#include "train/storage.hpp"

namespace conclave::plan {
namespace {

using train::PipelineAction;
using train::PipelineSchedule;
using train::PipelineShape;

/// Of cuBLAS, from torch's allocator: one for each thread that computes, which are the step's and autograd's; as large
/// as this on Hopper, a quarter of it before.
constexpr std::int64_t library_workspaces = 2 * (std::int64_t{32} << 20);

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

/// Micro-batches of one rank in a step.
struct Batches {
  std::int64_t count = 0, rows = 0, length = 0;
};

Result<Batches> micro_batches(const Experiment& experiment, const Mesh& mesh) {
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

/// What the flat groups (train/storage.hpp) of this rank's chunks take.
void add_parameters(const Subject& subject, const Mesh& mesh, const std::vector<PlannedChunk>& chunks, Memory& memory) {
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
  const std::int64_t master = size_of(types.master), compute = size_of(types.compute);
  const auto states = static_cast<std::int64_t>(subject.optimizer.states.size());
  for (const auto& [key, sum] : elements) {
    const auto& [dims, full_precision] = key;
    std::int64_t ranks = 1;
    for (const MeshDim dim : dims) ranks *= mesh.size(dim);
    const std::int64_t size = rounded_up(sum, train::alignment * ranks), owned = size / ranks;
    const std::int64_t held = parallel.shard_optimizer && subject.optimizer.elementwise ? owned : size;
    const bool own_master = !full_precision && types.compute != types.master;
    memory.weights += size * (full_precision ? master : compute);
    memory.gradients += size * master;
    memory.optimizer += held * master * (states + (own_master ? 1 : 0));
    memory.host_staging += owned * master * (states + 1);
    if (ranks > 1 && parallel.gradients == GradientType::bf16 && types.master != at::kBFloat16)
      memory.buffers += (size + (held < size ? owned : 0)) * size_of(at::kBFloat16);
  }
}

void add_buffers(const Experiment& experiment, const Batches& batches, const std::vector<PlannedChunk>& chunks,
                 Memory& memory) {
  for (const PlannedChunk& chunk : chunks)
    for (const BufferSpec& spec : chunk.description.buffers)
      memory.buffers += rounded_up(count(spec.shape), train::alignment) * size_of(spec.dtype);
  // The columns of Batch. With buckets: as if every micro-batch had the longest sequences.
  const bool bucket = experiment.data.batching.mode == BatchingMode::bucket;
  const bool segments = !bucket && experiment.data.batching.document_attention;
  const std::int64_t token =
      3 * size_of(at::kLong) + size_of(at::kBool) * (bucket ? 2 : 1) + (segments ? size_of(at::kInt) : 0);
  memory.buffers += batches.count * batches.rows * (batches.length * token + size_of(at::kLong));
  memory.buffers += library_workspaces;
}

/// What one rank's actions need at a time: activations that wait for their backward pass, the pass under way, and
/// messages that are still held after everything else has let them go.
class ActivationPlayer {
 public:
  ActivationPlayer(const std::vector<PlannedChunk>& chunks, const PipelineShape& shape, int rank)
      : chunks_(chunks), shape_(shape), rank_(rank) {}

  std::int64_t peak(const std::vector<PipelineAction>& actions) {
    for (const PipelineAction& action : actions) {
      const PlannedChunk& chunk = chunks_[static_cast<std::size_t>(action.chunk)];
      const bool forward = action.kind == PipelineAction::Kind::forward;
      if (forward) {
        kept_ += chunk.activations.kept;
        waiting_.insert({action.chunk, action.micro_batch});
      }
      peak_ = std::max(peak_, kept_ + chunk.activations.working + messages());
      if (!forward) {
        kept_ -= chunk.activations.kept;
        waiting_.erase({action.chunk, action.micro_batch});
      }
      send(action);
    }
    return peak_;
  }

 private:
  using Pass = std::pair<int, int>; // chunk, micro-batch

  /// As PipelineTransfers::send().
  void send(const PipelineAction& action) {
    const int chunk = action.chunk * shape_.ranks + rank_;
    const bool forward = action.kind == PipelineAction::Kind::forward;
    if (shape_.ranks == 1 || (forward ? chunk + 1 == shape_.ranks * shape_.virtual_stages : chunk == 0)) return;
    sent_.push_back(action);
    if (sent_.size() > static_cast<std::size_t>(4 * shape_.ranks * shape_.virtual_stages)) sent_.pop_front();
  }

  [[nodiscard]] std::int64_t messages() const {
    std::int64_t bytes = 0;
    for (const PipelineAction& action : sent_) {
      const PlannedChunk& chunk = chunks_[static_cast<std::size_t>(action.chunk)];
      if (action.kind == PipelineAction::Kind::backward)
        bytes += chunk.input_bytes;
      else if (!waiting_.contains({action.chunk, action.micro_batch})) // else it is part of what is kept
        bytes += chunk.output_bytes;
    }
    return bytes;
  }

  const std::vector<PlannedChunk>& chunks_;
  const PipelineShape& shape_;
  int rank_;
  std::set<Pass> waiting_;
  std::deque<PipelineAction> sent_;
  std::int64_t kept_ = 0, peak_ = 0;
};

/// The step's schedule, with so few micro-batches that it can be played; a rank's peak lies within the first rounds.
Result<std::pair<PipelineSchedule, PipelineShape>> make_schedule(const Experiment& experiment, const Batches& batches,
                                                                 const Mesh& mesh) {
  PipelineShape shape;
  shape.ranks = mesh.size(MeshDim::pipeline);
  shape.virtual_stages = experiment.parallel.virtual_stages;
  const std::int64_t enough = std::int64_t{8} * shape.ranks * shape.virtual_stages;
  const bool fewer = batches.count > enough + shape.ranks;
  // As many over a multiple of the ranks as there are: whether they interleave is the schedule's to say.
  shape.micro_batches = static_cast<int>(fewer ? enough + batches.count % shape.ranks : batches.count);
  CONCLAVE_ASSIGN(PipelineSchedule schedule, train::make_pipeline_schedule(shape));
  return std::pair(std::move(schedule), shape);
}

} // namespace

Result<std::vector<Memory>> plan_memory(const Subject& subject, const Mesh& mesh) {
  const Experiment& experiment = *subject.experiment;
  CONCLAVE_ASSIGN(const Batches batches, micro_batches(experiment, mesh));
  CONCLAVE_ASSIGN(const auto scheduled, make_schedule(experiment, batches, mesh));
  const auto& [schedule, shape] = scheduled;
  std::vector<Memory> ranks;
  for (int rank = 0; rank < shape.ranks; ++rank) {
    CONCLAVE_ASSIGN(const std::vector<PlannedChunk> chunks,
                    plan_chunks(subject, at_pipeline_rank(mesh, rank), batches.rows, batches.length));
    Memory& memory = ranks.emplace_back();
    add_parameters(subject, mesh, chunks, memory);
    add_buffers(experiment, batches, chunks, memory);
    memory.activations = ActivationPlayer(chunks, shape, rank).peak(schedule[static_cast<std::size_t>(rank)]);
    for (const PlannedChunk& chunk : chunks)
      memory.activations_known = memory.activations_known && chunk.activations.kept + chunk.activations.working > 0;
  }
  return ranks;
}

const Memory& fullest(const std::vector<Memory>& ranks) {
  return *std::max_element(ranks.begin(), ranks.end(),
                           [](const Memory& a, const Memory& b) { return a.sum() < b.sum(); });
}

std::string size_text(std::int64_t bytes) {
  static constexpr std::array<const char*, 5> units = {"kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %s", value, units[unit]);
  return text;
}

std::string arithmetic(const Memory& memory) {
  return "weights " + size_text(memory.weights) + " + gradients " + size_text(memory.gradients) + " + optimizer " +
         size_text(memory.optimizer) + " + activations " + size_text(memory.activations) + " + buffers " +
         size_text(memory.buffers) + " + CUDA " + size_text(outside_allocator) + " = " +
         size_text(memory.sum() + outside_allocator);
}

std::string describe(const Mesh& mesh) {
  const auto size = [&mesh](MeshDim dim) { return std::to_string(mesh.size(dim)); };
  return "pipeline " + size(MeshDim::pipeline) + " x data " + size(MeshDim::data) + " x tensor " +
         size(MeshDim::tensor) + ", experts over " + size(MeshDim::expert);
}

} // namespace conclave::plan
