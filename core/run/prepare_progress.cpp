// Progress and report of the prepare stages.

#include "run/prepare_progress.hpp"

#include <unistd.h>

#include <cstdio>
#include <map>

namespace conclave {

PrepareProgress::PrepareProgress(Logger& log, bool quiet)
    : log_(log), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void PrepareProgress::update(const char* stage, std::int64_t done, std::int64_t total, const char* unit) {
  if (quiet_) return;
  if (stage_ != stage) {
    stage_ = stage;
    if (!terminal_) log_.info("prepare: " + stage_);
    last_ = {};
  }
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  open_line_ = true;
  std::fprintf(stderr, "\r\033[Kprepare: %s %lld", stage, static_cast<long long>(done));
  if (total > 0) std::fprintf(stderr, " / %lld", static_cast<long long>(total));
  std::fprintf(stderr, " %s", unit);
  std::fflush(stderr);
}

void PrepareProgress::finish() {
  if (open_line_) std::fputs("\r\033[K", stderr);
  open_line_ = false;
}

std::vector<std::string> describe_prepared(const data::PrepareReport& report, const data::TokenStore& store) {
  std::vector<std::string> lines;
  if (report.cached) lines.emplace_back("data: prepared before, read from " + store.directory().string());
  // One line for each filter: kept documents by domain, and what was dropped by reason.
  std::vector<std::string> order;
  struct Sums {
    std::int64_t kept = 0, dropped = 0;
    std::map<std::string, std::int64_t> reasons;
  };
  std::map<std::string, Sums> filters;
  for (const auto& count : report.counts) {
    if (filters.find(count.filter) == filters.end()) order.push_back(count.filter);
    Sums& sums = filters[count.filter];
    if (count.documents == 0) continue;
    if (count.reason.empty()) {
      sums.kept += count.documents;
    } else {
      sums.dropped += count.documents;
      sums.reasons[count.reason + " in " + count.domain] += count.documents;
    }
  }
  for (const auto& name : order) {
    const Sums& sums = filters[name];
    std::string line =
        "data: " + name + " kept " + std::to_string(sums.kept) + " documents, dropped " + std::to_string(sums.dropped);
    std::string reasons;
    for (const auto& [reason, documents] : sums.reasons)
      reasons += (reasons.empty() ? "" : ", ") + std::to_string(documents) + " " + reason;
    if (!reasons.empty()) line += " (" + reasons + ")";
    lines.push_back(std::move(line));
  }
  for (std::size_t domain = 0; domain < store.domain_count(); ++domain) {
    char line[256];
    std::snprintf(line, sizeof line, "data: %-14s share %5.1f %%  %9lld train tokens in %lld documents, %lld held out",
                  store.domain_name(domain).c_str(), 100 * store.share(domain),
                  static_cast<long long>(store.tokens(data::Split::train, domain)),
                  static_cast<long long>(store.documents(data::Split::train, domain)),
                  static_cast<long long>(store.tokens(data::Split::held_out, domain)));
    lines.emplace_back(line);
  }
  return lines;
}

} // namespace conclave
