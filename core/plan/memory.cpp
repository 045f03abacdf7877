// Sums over descriptions, and a schedule played with sizes.

#include "plan/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <string>

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

/// What the flat groups of this rank's chunks take.
void add_parameters(const Subject& subject, const Mesh& mesh, const std::vector<PlannedChunk>& chunks, Memory& memory) {
  const Types types = types_of(*subject.experiment);
  const std::int64_t master = size_of(types.master);
  const auto states = static_cast<std::int64_t>(subject.optimizer.states.size());
  for (const PlannedGroup& group : plan_groups(subject, mesh, chunks)) {
    memory.weights += group.size * size_of(group.value);
    memory.gradients += group.size * master;
    memory.optimizer += group.held * master * (states + (group.value != types.master ? 1 : 0));
    memory.host_staging += group.owned * master * (states + 1);
    if (group.ranks > 1 && group.travels != types.master)
      memory.buffers += (group.size + (group.held < group.size ? group.owned : 0)) * size_of(group.travels);
  }
}

void add_buffers(const Experiment& experiment, const Batches& batches, const std::vector<PlannedChunk>& chunks,
                 Memory& memory) {
  for (const PlannedChunk& chunk : chunks)
    for (const BufferSpec& spec : chunk.description.buffers)
      memory.buffers += rounded_up(count(spec.shape), train::alignment) * size_of(spec.dtype);
  // The columns of Batch. With buckets: as if every micro-batch had the longest sequences.
  const auto& batching = experiment.data.batching;
  const bool bucket = batching.mode == BatchingMode::bucket;
  const bool padded = bucket || batching.packing == Packing::best_fit;
  const bool segments = !bucket && batching.document_attention;
  const std::int64_t token =
      3 * size_of(at::kLong) + size_of(at::kBool) * (padded ? 2 : 1) + (segments ? size_of(at::kInt) : 0);
  memory.buffers += batches.count * batches.rows * (batches.length * token + size_of(at::kLong));
  memory.buffers += library_workspaces;
}

/// What one rank's actions need at a time: activations that wait for their backward pass, the pass under way, and
/// messages that are still held after everything else has let them go.
class ActivationPlayer {
 public:
  ActivationPlayer(const std::vector<PlannedChunk>& chunks, const PipelineShape& shape, int rank)
      : chunks_(chunks), shape_(shape), rank_(rank), waiting_(chunks.size()) {}

  std::int64_t peak(const std::vector<PipelineAction>& actions) {
    for (const PipelineAction& action : actions) {
      const PlannedChunk& chunk = chunks_[static_cast<std::size_t>(action.chunk)];
      const bool forward = action.kind == PipelineAction::Kind::forward;
      if (forward) {
        kept_ += chunk.activations.kept;
        wait_for(action, true);
      }
      peak_ = std::max(peak_, kept_ + chunk.activations.working + messages());
      if (!forward) {
        kept_ -= chunk.activations.kept;
        wait_for(action, false);
      }
      send(action);
    }
    return peak_;
  }

 private:
  void wait_for(const PipelineAction& action, bool on) {
    std::vector<bool>& waiting = waiting_[static_cast<std::size_t>(action.chunk)];
    const auto micro_batch = static_cast<std::size_t>(action.micro_batch);
    if (waiting.size() <= micro_batch) waiting.resize(micro_batch + 1);
    waiting[micro_batch] = on;
  }

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
      else if (!waiting_[static_cast<std::size_t>(action.chunk)][static_cast<std::size_t>(action.micro_batch)])
        bytes += chunk.output_bytes; // else it is part of what is kept
    }
    return bytes;
  }

  const std::vector<PlannedChunk>& chunks_;
  const PipelineShape& shape_;
  int rank_;
  std::vector<std::vector<bool>> waiting_; ///< by chunk and micro-batch: kept for a backward pass
  std::deque<PipelineAction> sent_;
  std::int64_t kept_ = 0, peak_ = 0;
};

/// The step's schedule, with so few micro-batches that it can be played; a rank's peak lies within the first rounds.
Result<PipelineSchedule> make_short_schedule(PipelineShape shape) {
  const int enough = 8 * shape.ranks * shape.virtual_stages;
  // As many over a multiple of the ranks as there are: whether they interleave is the schedule's to say.
  if (shape.micro_batches > enough + shape.ranks) shape.micro_batches = enough + shape.micro_batches % shape.ranks;
  return train::make_pipeline_schedule(shape);
}

} // namespace

Result<std::vector<Memory>> memory_of(const Subject& subject, const PlannedLayout& layout) {
  CONCLAVE_ASSIGN(const PipelineSchedule schedule, make_short_schedule(layout.shape));
  std::vector<Memory> ranks;
  for (int rank = 0; rank < layout.shape.ranks; ++rank) {
    const std::vector<PlannedChunk>& chunks = layout.ranks[static_cast<std::size_t>(rank)];
    Memory& memory = ranks.emplace_back();
    add_parameters(subject, layout.mesh, chunks, memory);
    add_buffers(*subject.experiment, layout.batches, chunks, memory);
    memory.activations = ActivationPlayer(chunks, layout.shape, rank).peak(schedule[static_cast<std::size_t>(rank)]);
    for (const PlannedChunk& chunk : chunks)
      memory.activations_known = memory.activations_known && chunk.activations.kept + chunk.activations.working > 0;
  }
  return ranks;
}

Result<std::vector<Memory>> plan_memory(const Subject& subject, const Mesh& mesh) {
  CONCLAVE_ASSIGN(const PlannedLayout layout, plan_layout(subject, mesh));
  return memory_of(subject, layout);
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
