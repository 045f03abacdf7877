// HostServices: what all plugin instances of a run share, and the HostContext that each of them gets.
//
// Threading: contexts are made on the main thread; their any-thread calls are safe once made.
#pragma once

#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "config/experiment.hpp"
#include "run/log.hpp"

namespace conclave {

/// Values that plugins add to the current step's report.
class MetricInbox {
 public:
  void add(Metric metric) noexcept;
  [[nodiscard]] std::vector<Metric> take();

 private:
  std::mutex mutex_;
  std::vector<Metric> metrics_;
};

class HostServices {
 public:
  struct Settings {
    Logger* log = nullptr;
    std::uint64_t seed = 0;
    Phase phase = Phase::check;
    Device device;
    Mesh mesh;
    int worker_threads = 1;
    std::filesystem::path scratch; ///< "" = none; this object makes a folder of its own below it, when one is asked for
    std::filesystem::path cache;
    std::stop_token stop;
  };
  explicit HostServices(Settings settings);
  ~HostServices(); ///< removes its scratch folder

  /// A context for one instance of that block; lives as long as the services.
  HostContext& context(const PluginBlock& block);
  void enter(Phase phase) { settings_.phase = phase; }
  void set_device(Device device) { settings_.device = device; }
  MetricInbox& metrics() { return metrics_; }

 private:
  class Context;
  /// The scratch folder, made on first use; "" when there is none or it cannot be made.
  const std::filesystem::path& scratch();
  Settings settings_;
  MetricInbox metrics_;
  std::mutex scratch_mutex_;
  std::filesystem::path scratch_;
  std::list<std::unique_ptr<Context>> contexts_;
};

} // namespace conclave
