// monitor/prometheus: the run's state at http://127.0.0.1:8000/metrics for a Prometheus server to scrape, on one rank, on one
// of each machine or on all, and files that tell the server where.
//
// Threading: the observer's thread; the HTTP server answers on two threads of its own.
#pragma once

#include <prometheus/exposer.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "exporter.hpp"
#include "listen.hpp"
#include "target_file.hpp"

namespace conclave::prometheus_monitor {

enum class OnConflict { automatic, error, next };

struct Options {
  std::string listen = "127.0.0.1:8000";
  Placement placement = Placement::global;
  OnConflict on_conflict = OnConflict::automatic;
  std::string targets_file; ///< without `.<rank>.json`; "" = none
  std::string announce;     ///< "" = see announced_address()
  bool short_names = true;
  bool experts = false;
  Count max_series = 20'000;
};
OptionTable option_table();

class PrometheusMonitor final : public Monitor {
 public:
  PrometheusMonitor(HostContext& host, const Options& options)
      : host_(host), options_(options), exporter_(static_cast<std::size_t>(options.max_series.value)) {}

  ~PrometheusMonitor() override;

  [[nodiscard]] Placement placement() const override { return options_.placement; }
  Status start(const RunInfo& run) override;
  Status step(const StepReport& report) override;
  Status evaluation(const EvaluationReport& report) override;
  Status checkpoint(std::int64_t step, const std::string& path) override;
  Status finish(int exit_code) override;

  /// Where it listens, after start().
  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }

 private:
  /// Listens where the options say, or on a port after it.
  Status listen(int local_rank);
  Status listen_at(Endpoint endpoint);
  Status write_target(const RunInfo& run);
  /// Where others reach the endpoint, as far as this machine knows.
  [[nodiscard]] std::string announced_address() const;
  void stop() noexcept;
  void export_metric(const Metric& metric);
  /// Of the run directory's disk; asks the file system at most every ten seconds.
  void export_disk();

  using Clock = std::chrono::steady_clock;
  HostContext& host_;
  Options options_;
  Exporter exporter_;
  std::unique_ptr<prometheus::Exposer> exposer_; ///< after the exporter: it reads the registry while it lives
  Endpoint endpoint_;
  std::optional<TargetFile> target_;
  std::string directory_; ///< of the run
  std::optional<Clock::time_point> disk_asked_;
  std::deque<std::pair<std::int64_t, Clock::time_point>> seen_; ///< when the latest steps were reported
  bool warned_ = false;
};

} // namespace conclave::prometheus_monitor
