// Probing: opening unknown libraries in a child process, so that one that crashes, loops or throws costs nothing.
//
// What this is: both ends of `conclave --probe FILE...` (the parent that runs it, the child that answers) and the cache of
// its answers by content. What this is not: loading into the host (registry.hpp).
//
// Threading: main thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "conclave/plugin.hpp"

namespace conclave {

/// One plugin as the child described it.
struct ProbedPlugin {
  PluginInfo info;
  std::string kind;
  std::string json; ///< describe_json()
};

struct ProbeResult {
  std::vector<ProbedPlugin> plugins;
  std::string problem; ///< why the library is unusable; "" when it is fine
  /// False: another try, or a change of the machine (a missing library, a slow disk), may cure it, so it is not cached.
  bool lasting = true;
};

/// Probes each file, in order, in as few children as possible: one for all while nothing goes wrong. A library that
/// crashes a child that had opened others before is tried again alone, so that the guilty one is named.
std::vector<ProbeResult> probe(const std::filesystem::path& self, const std::vector<std::filesystem::path>& files,
                               double seconds_for_each);

/// The child's end: when argv says `--probe FILE...`, answers and ends the process; otherwise returns. main() calls this
/// before it does anything else: no thread, no CUDA, no torch setting.
void run_probe_mode(int argc, char** argv);

/// Limits that a child sets on itself before it runs a plugin's code: no core file, bounded CPU time, file size and memory.
/// Sanitizer builds keep their memory unbounded (they map terabytes of shadow).
void limit_this_process(double cpu_seconds);

/// Answers by the library's SHA-256 and this host's fingerprint, one small file each, written atomically.
class ProbeCache {
 public:
  /// "" = no cache. The folder is made when the first answer is stored.
  explicit ProbeCache(std::filesystem::path directory);
  /// Nothing when it is not there, or damaged.
  [[nodiscard]] std::optional<ProbeResult> load(const std::string& sha256) const;
  /// Best effort: a cache that cannot be written costs time, not correctness.
  void store(const std::string& sha256, const ProbeResult& result) const;

 private:
  [[nodiscard]] std::filesystem::path path_of(const std::string& sha256) const;
  std::filesystem::path directory_;
};

} // namespace conclave
