// The loop over steps: batches in, reports and checkpoints out, until the end, a stop request or a failure.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/stateful.hpp"
#include "config/experiment.hpp"
#include "data/loader.hpp"
#include "run/evaluation.hpp"
#include "run/host_services.hpp"
#include "run/observer.hpp"
#include "run/trace.hpp"
#include "train/step_engine.hpp"

namespace conclave {

/// A plugin with state of its own; `key` is its block's place in the experiment and its name in a checkpoint.
struct StatefulPlugin {
  std::string key, id;
  Stateful* state = nullptr;
};

struct LoopInput {
  const Experiment* experiment = nullptr;
  StepEngine* engine = nullptr;
  std::shared_ptr<const data::BatchPlan> plan;
  std::shared_ptr<const data::TokenStore> store;
  CheckpointStore* checkpoints = nullptr;
  const CheckpointPolicy* policy = nullptr; ///< null: only at the end
  std::string policy_id;
  const Evaluation* evaluation = nullptr;
  Observer* observer = nullptr;
  MetricInbox* metrics = nullptr;
  Trace* trace = nullptr;
  Logger* log = nullptr;
  std::string meta_json;                    ///< for manifests
  std::map<std::string, std::string> files; ///< for checkpoints
  std::vector<StatefulPlugin> stateful;
  std::int64_t first_step = 0; ///< batches seen before
  int skipped_in_row = 0;      ///< of them, the last ones without an update
  std::int64_t stop_after = 0;
  std::int64_t attempt = 0;
  const Groups* groups = nullptr; ///< whose traffic is reported; null: one rank
  std::function<void(std::int64_t step, const StepResult& result)> stepped; ///< after each step; may be empty
  bool alone = true; ///< one rank; else the ranks agree on stopping through their steps
  std::int64_t* reached =
      nullptr; ///< kept at the number of batches seen, also when an error ends the loop; may be null
  std::stop_token stop;
  std::function<std::string()> stop_reason;
};

struct LoopOutcome {
  std::int64_t step = 0; ///< batches seen
  Code code = Code::internal;
  bool finished = false; ///< all steps, or stop_after, done: exit 0
  std::string reason;
  EvaluationReport last_evaluation;
};

/// What LoopInput::skipped_in_row was when this checkpoint was taken; 0 where it does not say.
int skipped_in_row(const CheckpointReader& reader);

/// A LoopOutcome has a checkpoint of its last step (where there was a step), an Error leaves those that were committed.
Result<LoopOutcome> run_training_loop(const LoopInput& input);

} // namespace conclave
