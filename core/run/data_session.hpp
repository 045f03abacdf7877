// DataSession: an experiment's data plugins without a run, for the verbs that look into prepared data.
//
// Threading: main thread.
#pragma once

#include <memory>

#include "config/experiment.hpp"
#include "data/prepare.hpp"
#include "run/host_services.hpp"
#include "run/log.hpp"
#include "run/stop_signal.hpp"

namespace conclave {

class DataSession {
 public:
  /// Makes the experiment's sources, filters and tokenizer in the prepare phase. `experiment` outlives this.
  static Result<std::unique_ptr<DataSession>> open(const Experiment& experiment, bool quiet);

  /// What prepare() takes; a signal stops it.
  [[nodiscard]] const data::PrepareRequest& request() const { return request_; }

 private:
  explicit DataSession(bool quiet) : log_(quiet) {}

  Logger log_;
  std::unique_ptr<StopSignal> stop_;
  std::unique_ptr<HostServices> host_;
  data::PrepareRequest request_;
};

} // namespace conclave
