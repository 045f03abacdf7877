// What the user sees of prepare(): a bar that moves on a terminal, a line now and then elsewhere, and the final report.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "data/prepare.hpp"
#include "run/log.hpp"

namespace conclave {

/// `annotate [#####---------------]  25 %  1000 of 4000 documents, 15 s left`; without a total `read 1000 documents`.
/// `seconds`: since the stage began; the time left is told from the third on.
std::string progress_text(const std::string& stage, std::int64_t done, std::int64_t total, const std::string& unit,
                          double seconds);

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
  std::chrono::steady_clock::time_point begin_, last_; ///< of the stage; of what was shown
};

/// The report as lines: kept and dropped documents of each filter and domain, then tokens of each domain and split.
std::vector<std::string> describe_prepared(const data::PrepareReport& report, const data::TokenStore& store);

} // namespace conclave
