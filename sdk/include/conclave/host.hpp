// HostContext: what the host offers to one plugin instance.
//
// Given to each factory; it outlives the instance. A service that does not exist in the current phase returns null or an
// error as each comment says. Calls marked [any-thread] may come from threads that the plugin owns; the others belong to
// the thread that calls the plugin. Calls marked [collective] must be made by every rank in the same order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "conclave/mesh.hpp"
#include "conclave/random.hpp"
#include "conclave/status.hpp"

namespace conclave {

enum class Phase { check, prepare, train };
enum class LogLevel { debug, info, warning, error };

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;
};

/// How a value is combined over ranks before it is reported.
enum class Reduction { none, sum, mean, max, min };

class HostContext {
 public:
  virtual ~HostContext();

  /// check: no data, device or network may be touched. prepare: CPU only. train: everything.
  [[nodiscard]] virtual Phase phase() const noexcept = 0;
  /// The id that the instance was made under, and its own name: the dotted key of its block in the experiment, e.g.
  /// `data.domains.web.source`, `data.filters.near` or `scheduler.with.next`. Two blocks never share one; the instances of
  /// one block (one filter for each worker) do.
  [[nodiscard]] virtual const std::string& plugin_id() const noexcept = 0;
  [[nodiscard]] virtual const std::string& instance_name() const noexcept = 0;

  /// [any-thread] Writes to the console and the rank's log, prefixed with the plugin's id.
  virtual void log(LogLevel level, std::string_view text) noexcept = 0;

  /// The run's seed, and a stateless stream keyed by (seed, instance_name(), name).
  [[nodiscard]] virtual std::uint64_t seed() const noexcept = 0;
  [[nodiscard]] RandomStream rng(std::string_view name) const;

  /// Where tensors live in the train phase; cpu in the others.
  [[nodiscard]] virtual Device device() const noexcept = 0;
  [[nodiscard]] virtual const Mesh& mesh() const noexcept = 0;

  /// A folder of this run for temporary files, removed when the run ends; empty in the check phase.
  [[nodiscard]] virtual std::string scratch_dir() = 0;
  /// A folder kept between runs, private to this plugin id; empty in the check phase.
  [[nodiscard]] virtual std::string cache_dir() = 0;

  /// Calls body(begin, end) over [0, n) in pieces of at least `grain` on the host's worker threads and waits. An
  /// exception of a piece is thrown again here. The split depends on n, grain and the thread count only.
  virtual void parallel_for(std::int64_t n, std::int64_t grain,
                            const std::function<void(std::int64_t begin, std::int64_t end)>& body) = 0;
  [[nodiscard]] virtual int worker_threads() const noexcept = 0;

  /// [any-thread] Set when the run is asked to stop; long work polls it and returns early with Code::stopped.
  [[nodiscard]] virtual std::stop_token stop_token() const noexcept = 0;

  /// [any-thread] Adds a value to the current step's report. Ignored outside the train phase.
  virtual void metric(std::string_view name, std::string_view unit, double value, Reduction reduction) noexcept = 0;
};

} // namespace conclave
