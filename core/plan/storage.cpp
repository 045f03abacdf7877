// One description of the whole model, and a policy that is asked about a run that never was.

#include "plan/storage.hpp"

#include <algorithm>
#include <vector>

#include "plan/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::plan {
namespace {

constexpr std::int64_t most_steps = 1'000'000; // of a run whose policy is asked step by step

/// How many checkpoints the policy leaves of a whole run's. Its answers depend on its arguments alone, so it may be
/// asked once about all of them.
std::int64_t kept_by(const CheckpointPolicy& policy, std::int64_t total_steps, std::int64_t bytes) {
  std::vector<CheckpointInfo> written;
  for (std::int64_t step = 1; step <= std::min(total_steps, most_steps); ++step)
    if (policy.due(step, total_steps)) written.push_back({step, bytes});
  const std::vector<std::int64_t> gone = policy.retire(written);
  return static_cast<std::int64_t>(written.size() - std::min(gone.size(), written.size()));
}

/// As the token store keeps an id.
std::int64_t token_bytes(std::int64_t vocabulary) { return vocabulary <= 65536 ? 2 : 4; }

} // namespace

Result<Storage> plan_storage(const Subject& subject, const CheckpointPolicy* policy) {
  const Experiment& experiment = *subject.experiment;
  Storage storage;
  StageRequest whole;
  whole.shape = subject.shape;
  whole.compute = types_of(experiment).compute;
  whole.master = types_of(experiment).master;
  const char* id = experiment.model.id.c_str();
  CONCLAVE_ASSIGN(const auto stage, guard(id, "make_stage", [&] { return subject.model->make_stage(whole); }));
  CONCLAVE_ASSIGN(const StageDescription description, guard(id, "describe", [&] { return stage->describe(); }));
  const std::int64_t element = size_of(whole.master) * (1 + static_cast<std::int64_t>(subject.optimizer.states.size()));
  for (const ParamSpec& spec : description.parameters)
    for (const ParamPiece& piece : spec.pieces) storage.checkpoint += count(piece.global.size) * element;
  for (const BufferSpec& spec : description.buffers)
    if (spec.use == BufferUse::state) storage.checkpoint += count(spec.shape) * size_of(spec.dtype);
  if (policy != nullptr) {
    CONCLAVE_ASSIGN(storage.kept, guard(experiment.checkpoint.id.c_str(), "retire",
                                        [&] { return kept_by(*policy, experiment.train.steps, storage.checkpoint); }));
  }
  // In floating point: three options may multiply to more than an integer holds.
  const double tokens = static_cast<double>(experiment.train.steps) * static_cast<double>(experiment.train.batch) *
                        static_cast<double>(experiment.data.length.max);
  storage.tokens =
      static_cast<std::int64_t>(std::min(tokens * static_cast<double>(token_bytes(subject.shape.vocabulary)), 1e18));
  return storage;
}

} // namespace conclave::plan
