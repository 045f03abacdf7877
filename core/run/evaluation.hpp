// Held-out evaluation: nll and bits per byte of each domain, beside the entropy of its unigrams.
#pragma once

#include <memory>
#include <vector>

#include "conclave/monitor.hpp"
#include "config/experiment.hpp"
#include "data/batch_plan.hpp"
#include "run/log.hpp"
#include "train/step_engine.hpp"

namespace conclave {

class Evaluation {
 public:
  /// Domains without one whole held-out sample are left out with a warning.
  static Evaluation make(const Experiment& experiment, const std::shared_ptr<const data::TokenStore>& store,
                         const Mesh& mesh, Logger& log);
  [[nodiscard]] bool possible() const { return !domains_.empty(); }
  /// The same batches each time, so that values are comparable over steps: up to `evaluate.batches` of each domain, fewer
  /// where its held-out samples, each counted once, run out before. Metrics, for each domain and (without labels)
  /// over all evaluated tokens: eval_nll, eval_bits_per_byte, and eval_unigram_entropy, which a model must come below to
  /// have learned anything of context: each domain's entropy under its own held-out token counts.
  /// Over many ranks a collective call; every rank gets the same report.
  Result<EvaluationReport> run(StepEngine& engine, std::int64_t step, std::int64_t attempt) const;

 private:
  struct DomainPlan {
    std::size_t domain;
    std::shared_ptr<const data::BatchPlan> plan;
    double unigram_entropy;
  };
  std::shared_ptr<const data::TokenStore> store_;
  std::vector<DomainPlan> domains_;
  std::int64_t batches_ = 0;
  std::int64_t data_rank_ = 0, data_ranks_ = 1;
};

} // namespace conclave
