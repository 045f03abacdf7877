// The index of a dictd database: see index.hpp.

#include "index.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::dictd {
namespace {

constexpr std::size_t longest_line = 64 << 10;

int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

std::optional<Entry> parse_line(std::string_view line) {
  const std::size_t first = line.find('\t');
  if (first == std::string_view::npos || first == 0) return std::nullopt;
  const std::size_t second = line.find('\t', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const std::size_t third = line.find('\t', second + 1);
  const auto offset = parse_base64(line.substr(first + 1, second - first - 1));
  const auto length =
      parse_base64(line.substr(second + 1, third == std::string_view::npos ? third : third - second - 1));
  if (!offset || !length || *offset > std::numeric_limits<std::int64_t>::max() - *length) return std::nullopt;
  const std::string_view written = third == std::string_view::npos ? line.substr(0, first) : line.substr(third + 1);
  return Entry{std::string(written), *offset, *length};
}

} // namespace

std::optional<std::int64_t> parse_base64(std::string_view digits) {
  if (digits.empty()) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : digits) {
    const int d = digit(c);
    if (d < 0 || value > (std::numeric_limits<std::int64_t>::max() >> 6)) return std::nullopt;
    value = value * 64 + d;
  }
  return value;
}

Result<Index> read_index(const std::string& path) {
  CONCLAVE_ASSIGN(auto stream, datakit::open_bytes(path));
  datakit::LineReader lines(std::move(stream), longest_line);
  Index index;
  std::string line;
  for (;;) {
    CONCLAVE_ASSIGN(const auto found, lines.next(line));
    if (found == datakit::LineReader::Line::none) break;
    if (found == datakit::LineReader::Line::text && line.empty()) continue;
    // 00-database-info and its like, also under the database's own name, describe the database.
    if (line.starts_with("00-") || line.starts_with("00database")) continue;
    auto entry = found == datakit::LineReader::Line::text ? parse_line(line) : std::nullopt;
    if (entry && entry->length > 0) {
      index.entries.push_back(std::move(*entry));
    } else {
      ++index.malformed;
    }
  }
  const auto place = [](const Entry& entry) { return std::pair(entry.offset, entry.length); };
  std::ranges::stable_sort(index.entries, {}, place);
  const auto same_article = [&place](const Entry& a, const Entry& b) { return place(a) == place(b); };
  index.entries.erase(std::unique(index.entries.begin(), index.entries.end(), same_article), index.entries.end());
  return index;
}

} // namespace conclave::dictd
