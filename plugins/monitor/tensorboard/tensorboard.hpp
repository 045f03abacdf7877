// monitor/tensorboard: scalars and hyper-parameters as event files that TensorBoard and its kin read.
//
// Threading: the observer's thread.
#pragma once

#include <optional>
#include <string>

#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "event_file.hpp"

namespace conclave::tensorboard {

struct Options {
  std::string directory = "tensorboard";
  Count every = 1;
  bool experts = false;
  bool hparams = true;
};
OptionTable option_table();

/// `<prefix>/<name>` and a part for each label's value: `train/domain_share/web`, `evaluation/nll/code`.
std::string tag_of(const char* prefix, const Metric& metric);

class Tensorboard final : public Monitor {
 public:
  Tensorboard(HostContext&, const Options& options) : options_(options) {}
  Status start(const RunInfo& run) override;
  Status step(const StepReport& report) override;
  Status evaluation(const EvaluationReport& report) override;
  Status flush() override;
  Status finish(int exit_code) override;

 private:
  Options options_;
  std::optional<EventFile> file_;
  std::int64_t total_steps_ = 0;
};

} // namespace conclave::tensorboard
