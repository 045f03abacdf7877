// What the user sees of prepare(): a line that moves on a terminal, one line a stage elsewhere, and the final report.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "data/prepare.hpp"
#include "run/log.hpp"

namespace conclave {

class PrepareProgress {
 public:
  PrepareProgress(Logger& log, bool quiet);
  void update(const char* stage, std::int64_t done, std::int64_t total, const char* unit);
  /// Ends the moving line.
  void finish();

 private:
  Logger& log_;
  bool quiet_, terminal_;
  bool open_line_ = false;
  std::string stage_;
  std::chrono::steady_clock::time_point last_;
};

/// The report as lines: kept and dropped documents of each filter and domain, then tokens of each domain and split.
std::vector<std::string> describe_prepared(const data::PrepareReport& report, const data::TokenStore& store);

} // namespace conclave
