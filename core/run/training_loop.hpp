// The loop over steps: batches in, reports and checkpoints out, until the end, a stop request or a failure.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "checkpoint/store.hpp"
#include "config/experiment.hpp"
#include "data/loader.hpp"
#include "run/evaluation.hpp"
#include "run/host_services.hpp"
#include "run/observer.hpp"
#include "run/trace.hpp"
#include "train/step_engine.hpp"

namespace conclave {

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
  std::string meta_json;                     ///< for manifests
  std::map<std::string, std::string> files;  ///< for checkpoints
  std::map<std::string, Stateful*> stateful; ///< plugins with state, by instance name
  std::int64_t first_step = 0;               ///< batches seen before
  int skipped_in_row = 0;                    ///< of them, the last ones without an update
  std::int64_t stop_after = 0;
  std::int64_t attempt = 0;
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

/// An Error has left the newest checkpoint as it was before; a LoopOutcome has saved one of its last step.
Result<LoopOutcome> run_training_loop(const LoopInput& input);

} // namespace conclave
