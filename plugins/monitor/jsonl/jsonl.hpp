// monitor/jsonl: every report as one line of a JSON Lines file in the run directory. README.md documents the rows.
//
// Threading: the observer's thread.
#pragma once

#include <optional>
#include <string>

#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "line_file.hpp"

namespace conclave::jsonl {

/// Of the rows; raised when a key changes its meaning.
inline constexpr std::int64_t schema_version = 1;

struct Options {
  std::string file = "metrics.jsonl";
  bool labelled = true;
};
OptionTable option_table();

class Jsonl final : public Monitor {
 public:
  Jsonl(HostContext& host, const Options& options) : host_(host), options_(options) {}
  Status start(const RunInfo& run) override;
  Status step(const StepReport& report) override;
  Status evaluation(const EvaluationReport& report) override;
  Status flush() override;
  Status checkpoint(std::int64_t step, const std::string& path) override;
  Status finish(int exit_code) override;

 private:
  HostContext& host_;
  Options options_;
  std::optional<LineFile> file_;
  std::int64_t attempt_ = 0;
};

} // namespace conclave::jsonl
