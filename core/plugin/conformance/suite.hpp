// The conformance suite: does a plugin library keep the contract of its kind's header?
//
// What this is: what `conclave plugins check FILE.so` runs on any library, ours or a stranger's. Each case runs in a child
// process of its own with a time limit, so a crash or a loop is one failed case. What this is not: a test of what a plugin
// is for; that is the plugin's own unit test.
//
// Threading: main thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

enum class CaseOutcome { passed, failed, skipped };
const char* to_string(CaseOutcome outcome) noexcept;

struct CaseResult {
  std::string plugin; ///< id, or the file's name for what concerns the whole library
  std::string name;
  CaseOutcome outcome = CaseOutcome::failed;
  std::string detail; ///< why it failed or was skipped
};

struct ConformanceRequest {
  std::filesystem::path self; ///< this executable, run again for each case
  std::filesystem::path file;
  std::string with; ///< options of every instance as one YAML map; "" = all defaults
  std::string only; ///< only cases whose name contains this
  double seconds_for_each = 60;
  std::vector<std::filesystem::path> plugin_path; ///< where the plugins of nested blocks in `with` are found
  std::filesystem::path probe_cache;              ///< of the plugin path; "" = none
};

/// An error means that the suite could not run at all; a bad library is a failed case.
Result<std::vector<CaseResult>> run_conformance(const ConformanceRequest& request);

/// The child's end: when argv asks for a case, runs it and returns the exit code. main() calls it first, as
/// run_probe_mode().
std::optional<int> run_conformance_mode(int argc, char** argv);

} // namespace conclave
