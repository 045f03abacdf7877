// Monitor: sees every step's report. StepReport: what one step has to tell.
//
// Threading: all calls come from one thread (the host's observer thread), in order. A slow monitor delays the others but
// never the training step; the host keeps a bounded queue and waits when it is full rather than lose a report.
// Errors: a Status from start() ends the run before training; one from a later call is logged once and the monitor is
// switched off.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/plugin.hpp"

namespace conclave {

/// One value of a step. `labels` tell apart members of one family, e.g. {{"layer", "3"}, {"expert", "7"}}.
struct Metric {
  std::string name;
  std::string unit; ///< "" for a pure number; else a base unit: "tokens", "seconds", "bytes", "nats"
  double value = 0;
  Reduction reduction = Reduction::none; ///< how it was combined over ranks
  std::vector<std::pair<std::string, std::string>> labels;
};

struct StepReport {
  std::int64_t step = 0;    ///< batches seen after this step; the first report has 1
  std::int64_t attempt = 0; ///< 0 for the first start of the run, then one more with each resume
  std::int64_t lag = 0;     ///< steps between the device finishing and this report
  /// Always: loss nll learning_rate grad_norm tokens tokens_per_second step_seconds applied; then loss_scale,
  /// expert_load{layer,expert}, dropped_tokens, domain_share{domain}, with several ranks sent_bytes{group,collective} of the
  /// step, and what plugins add through HostContext::metric. Times, sent_bytes and what plugins add are this rank's own; the
  /// rest is the run's and the same on every rank.
  std::vector<Metric> metrics;
  /// Value of the unlabelled metric of that name, or `fallback`.
  [[nodiscard]] double value(const std::string& name, double fallback = 0) const;
  /// `expert_load_max_ratio{layer}` of each layer with an `expert_load`: its fullest expert's load over the mean one; 1 is
  /// perfect balance. In the order in which the layers come.
  [[nodiscard]] std::vector<Metric> expert_imbalance() const;
};

/// Held-out results: one metric each for every domain and for all of them, e.g. nll{domain="code"}.
struct EvaluationReport {
  std::int64_t step = 0;
  std::int64_t attempt = 0;
  std::vector<Metric> metrics;
};

struct RunInfo {
  std::string name;
  std::string directory;
  std::string config_hash;
  std::string config_hash_without_seed; ///< groups runs that differ in the seed alone
  std::int64_t total_steps = 0;
  std::int64_t first_step = 0; ///< > 0 after a resume
  std::int64_t attempt = 0;
  std::int64_t parameters = 0;
  std::int64_t active_parameters = 0;
  int rank = 0, world_size = 1;
  int local_rank = 0; ///< among the ranks of this machine
  bool quiet = false; ///< the user asked for silence (--quiet): write nothing to the terminal but what went wrong
  std::vector<std::pair<std::string, std::string>> settings; ///< dotted key and text of the resolved experiment
};

enum class Placement { global, node, rank }; ///< once per run, once per machine, or on every rank

class Monitor : public Plugin {
 public:
  static constexpr const char* kind = "monitor";
  ~Monitor() override;

  [[nodiscard]] virtual Placement placement() const { return Placement::global; }
  virtual Status start(const RunInfo& run) = 0;
  virtual Status step(const StepReport& report) = 0;
  virtual Status evaluation(const EvaluationReport& report) {
    (void)report;
    return {};
  }
  /// A checkpoint is about to be committed: make durable what was told so far. A run that goes on from it repeats none of
  /// the steps before.
  virtual Status flush() { return {}; }
  /// A checkpoint of that step is committed and verified.
  virtual Status checkpoint(std::int64_t step, const std::string& path) {
    (void)step, (void)path;
    return {};
  }
  /// The run ends with that exit code; flush and close.
  virtual Status finish(int exit_code) {
    (void)exit_code;
    return {};
  }
};

} // namespace conclave
