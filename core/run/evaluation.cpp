// Sums token losses of held-out batches by domain and puts them in units.

#include "run/evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/statistics.hpp"
#include "run/assemble.hpp"

namespace conclave {

namespace {

/// A batch of that shape in which nothing counts.
data::HostStep without_tokens(data::HostStep step) {
  step.global_loss_tokens = step.global_sequences = 0;
  for (data::HostMicroBatch& micro : step.micro_batches) {
    std::fill(micro.loss_mask.begin(), micro.loss_mask.end(), std::uint8_t{0});
    std::fill(micro.labels.begin(), micro.labels.end(), 0);
    micro.token_mask.assign(micro.loss_mask.size(), 0);
  }
  return step;
}

} // namespace

Evaluation Evaluation::make(const Experiment& experiment, const std::shared_ptr<const data::TokenStore>& store,
                            const Mesh& mesh, Logger& log) {
  Evaluation evaluation;
  evaluation.data_rank_ = mesh.index(MeshDim::data);
  evaluation.data_ranks_ = mesh.size(MeshDim::data);
  evaluation.store_ = store;
  evaluation.batches_ = experiment.evaluate.batches;
  if (evaluation.batches_ == 0) return evaluation;
  const auto entropy = data::unigram_entropy(*store, data::Split::held_out);
  for (std::size_t domain = 0; domain < store->domain_count(); ++domain) {
    auto plan = data::make_batch_plan(store, held_out_plan(experiment, static_cast<int>(domain)));
    if (plan.ok())
      evaluation.domains_.push_back({domain, std::move(plan).value(), entropy.domains[domain]});
    else
      log.warning("no evaluation of domain '" + store->domain_name(domain) + "': " + plan.error().render());
  }
  return evaluation;
}

Result<EvaluationReport> Evaluation::run(StepEngine& engine, std::int64_t step, std::int64_t attempt) const {
  EvaluationReport report;
  report.step = step;
  report.attempt = attempt;
  double all_nll = 0, all_bytes = 0, all_entropy = 0;
  std::int64_t all_tokens = 0;
  for (const auto& [domain, plan, entropy] : domains_) {
    // Never the same text twice: a small domain has fewer batches, the last of them with empty rows.
    const std::int64_t batches = std::min(plan->batches(), batches_);
    double nll = 0;
    std::int64_t tokens = 0;
    for (std::int64_t first = 0; first < batches; first += data_ranks_) {
      // The data ranks take turns, so what is evaluated does not depend on their number. All take part in every round: the
      // experts of one may be needed by another.
      const std::int64_t batch = first + data_rank_;
      CONCLAVE_ASSIGN(const auto sums,
                      engine.evaluate(batch < batches ? plan->build(batch) : without_tokens(plan->build(0))));
      nll += sums.nll[domain];
      tokens += sums.tokens[domain];
    }
    if (tokens == 0) continue;
    const double bytes = data::bytes_per_token(*store_, data::Split::held_out, domain) * static_cast<double>(tokens);
    const std::vector<std::pair<std::string, std::string>> labels = {{"domain", store_->domain_name(domain)}};
    report.metrics.push_back({"eval_nll", "nats", nll / static_cast<double>(tokens), Reduction::mean, labels});
    report.metrics.push_back({"eval_bits_per_byte", "bits", nll / std::numbers::ln2 / bytes, Reduction::mean, labels});
    report.metrics.push_back({"eval_unigram_entropy", "nats", entropy, Reduction::none, labels});
    all_entropy += entropy * static_cast<double>(tokens);
    all_nll += nll;
    all_tokens += tokens;
    all_bytes += bytes;
  }
  if (all_tokens > 0) {
    report.metrics.push_back({"eval_nll", "nats", all_nll / static_cast<double>(all_tokens), Reduction::mean, {}});
    report.metrics.push_back(
        {"eval_bits_per_byte", "bits", all_nll / std::numbers::ln2 / all_bytes, Reduction::mean, {}});
    report.metrics.push_back(
        {"eval_unigram_entropy", "nats", all_entropy / static_cast<double>(all_tokens), Reduction::none, {}});
  }
  return report;
}

} // namespace conclave
