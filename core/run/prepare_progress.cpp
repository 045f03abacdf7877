// Progress and report of the prepare stages.

#include "run/prepare_progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

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
  // One line for each filter and domain: what it kept, and what it dropped by reason. Filters come in their order.
  struct Row {
    std::string filter, domain, reasons;
    std::int64_t kept = 0, dropped = 0;
  };
  std::vector<Row> rows;
  for (const auto& count : report.counts) {
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const Row& r) { return r.filter == count.filter && r.domain == count.domain; });
    if (row == rows.end()) row = rows.insert(row, {count.filter, count.domain, {}});
    if (count.reason.empty()) {
      row->kept += count.documents;
    } else if (count.documents > 0) {
      row->dropped += count.documents;
      row->reasons += (row->reasons.empty() ? "" : ", ") + std::to_string(count.documents) + " " + count.reason;
    }
  }
  for (const Row& row : rows) {
    char line[256];
    std::snprintf(line, sizeof line, "data: %-16s %-14s kept %9lld documents, dropped %7lld", row.filter.c_str(),
                  row.domain.c_str(), static_cast<long long>(row.kept), static_cast<long long>(row.dropped));
    lines.push_back(line + (row.reasons.empty() ? std::string() : " (" + row.reasons + ")"));
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
