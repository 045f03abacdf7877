// Progress and report of the prepare stages.

#include "run/prepare_progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "plan/memory.hpp"

namespace conclave {

namespace {

constexpr auto terminal_interval = std::chrono::milliseconds(100);
constexpr auto log_interval = std::chrono::seconds(30);

std::string amount(std::int64_t n, const std::string& unit) {
  return unit == "bytes" ? plan::size_text(n) : std::to_string(n);
}

/// "45 s", "3 min 05 s", "2 h 10 min", "4 days 3 h".
std::string time_text(double seconds) {
  const auto s = static_cast<long long>(seconds + 0.5);
  char text[48];
  if (s < 60)
    std::snprintf(text, sizeof text, "%lld s", s);
  else if (s < 3600)
    std::snprintf(text, sizeof text, "%lld min %02lld s", s / 60, s % 60);
  else if (s < 86400)
    std::snprintf(text, sizeof text, "%lld h %02lld min", s / 3600, s / 60 % 60);
  else
    std::snprintf(text, sizeof text, "%lld days %lld h", s / 86400, s / 3600 % 24);
  return text;
}

} // namespace

std::string progress_text(const std::string& stage, std::int64_t done, std::int64_t total, const std::string& unit,
                          double seconds) {
  const std::string suffix = unit == "bytes" ? "" : " " + unit;
  if (total <= 0) return stage + " " + amount(done, unit) + suffix;
  constexpr int width = 20;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int full = static_cast<int>(share * width);
  char percent[16];
  std::snprintf(percent, sizeof percent, "] %3.0f %%  ", 100 * share);
  std::string text = stage + " [" + std::string(static_cast<std::size_t>(full), '#') +
                     std::string(static_cast<std::size_t>(width - full), '-') + percent + amount(done, unit) + " of " +
                     amount(total, unit) + suffix;
  if (seconds >= 3 && done > 0 && share < 1) text += ", " + time_text(seconds * (1 - share) / share) + " left";
  return text;
}

PrepareProgress::PrepareProgress(Logger& log, bool quiet)
    : log_(log), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void PrepareProgress::update(const char* stage, std::int64_t done, std::int64_t total, const char* unit) {
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  if (stage_ != stage) {
    stage_ = stage;
    begin_ = now;
    last_ = terminal_ ? std::chrono::steady_clock::time_point() : now;
    if (!terminal_) log_.info("prepare: " + stage_);
  }
  if (now - last_ < (terminal_ ? std::chrono::milliseconds(terminal_interval) : log_interval)) return;
  last_ = now;
  const std::string text =
      "prepare: " + progress_text(stage_, done, total, unit, std::chrono::duration<double>(now - begin_).count());
  if (!terminal_) return log_.info(text);
  open_line_ = true;
  std::fprintf(stderr, "\r\033[K%s", text.c_str());
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
