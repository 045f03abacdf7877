// Records: see records.hpp.

#include "records.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "header_fields.hpp"

namespace conclave::warc {
namespace {

constexpr std::size_t chunk_bytes = 64 << 10;
constexpr std::size_t largest_header = 64 << 10;
constexpr std::string_view version = "WARC/", blank_line = "\r\n\r\n", next_record = "\r\n\r\nWARC/";

std::optional<std::uint64_t> content_length(std::string_view value) {
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
  constexpr std::uint64_t most = std::uint64_t{1} << 62;
  if (error != std::errc() || end != value.data() + value.size() || length > most) return std::nullopt;
  return length;
}

/// The fields of a record's header (without the blank line); the body's length, or none where the header is no header.
std::optional<std::uint64_t> read_header(std::string_view header, Record& out) {
  if (!header.starts_with(version)) return std::nullopt;
  std::optional<std::uint64_t> length;
  for_each_field(header, [&](std::string_view name, std::string_view value) {
    if (is_field(name, "WARC-Type")) out.type = value;
    if (is_field(name, "WARC-Target-URI")) out.target_uri = value;
    if (is_field(name, "Content-Type")) out.content_type = value;
    if (is_field(name, "WARC-Identified-Payload-Type")) out.payload_type = value;
    if (is_field(name, "WARC-Identified-Content-Language")) out.language = value;
    if (is_field(name, "Content-Length")) length = content_length(value);
  });
  if (out.type.empty()) return std::nullopt;
  if (out.target_uri.starts_with('<') && out.target_uri.ends_with('>')) // so wrote the standard's first edition
    out.target_uri = out.target_uri.substr(1, out.target_uri.size() - 2);
  return length;
}

bool is_line_end(char c) { return c == '\r' || c == '\n'; }

} // namespace

Result<bool> Records::fill(std::size_t count) {
  while (buffer_.size() - at_ < count && !ended_) {
    if (at_ > buffer_.size() / 2) buffer_.erase(0, std::exchange(at_, 0)); // each byte moves once or twice in all
    const std::size_t kept = buffer_.size();
    buffer_.resize(kept + chunk_bytes);
    CONCLAVE_ASSIGN(const std::size_t got, members_->read(buffer_.data() + kept, chunk_bytes));
    buffer_.resize(kept + got);
    ended_ = got == 0;
  }
  return buffer_.size() - at_ >= count;
}

Status Records::pass(std::int64_t count) {
  while (count > 0) {
    CONCLAVE_ASSIGN(const bool any, fill(1));
    if (!any) return {};
    const auto step = std::min(count, static_cast<std::int64_t>(buffer_.size() - at_));
    at_ += static_cast<std::size_t>(step);
    position_ += step;
    count -= step;
  }
  return {};
}

/// Moves to the next thing that looks like a record at or after ahead()[from], or to the member's end.
Status Records::find_record(std::size_t from) {
  CONCLAVE_RETURN_IF_ERROR(pass(static_cast<std::int64_t>(from)));
  for (;;) {
    CONCLAVE_ASSIGN(const bool enough, fill(next_record.size()));
    const std::size_t found = ahead().find(next_record);
    if (found != std::string_view::npos) return pass(static_cast<std::int64_t>(found + blank_line.size()));
    if (!enough) return pass(static_cast<std::int64_t>(ahead().size()));
    CONCLAVE_RETURN_IF_ERROR(pass(static_cast<std::int64_t>(ahead().size() - (next_record.size() - 1))));
  }
}

Result<bool> Records::next(Record& out) {
  for (;;) {
    if (!inside_) {
      CONCLAVE_ASSIGN(inside_, members_->next());
      if (!inside_) return false;
      buffer_.clear();
      at_ = 0;
      position_ = 0;
      ended_ = false;
    }
    CONCLAVE_ASSIGN(bool any, fill(1));
    while (any && is_line_end(buffer_[at_])) {
      CONCLAVE_RETURN_IF_ERROR(pass(1));
      CONCLAVE_ASSIGN(any, fill(1));
    }
    if (!any) { // the member's end; damage in an empty one, or behind the last record of several, is news
      if (!members_->damage().empty()) report(members_->damage());
      inside_ = false;
      continue;
    }

    std::size_t header = std::string_view::npos;
    for (std::size_t wanted = 1024; header == std::string_view::npos && wanted <= largest_header; wanted *= 2) {
      CONCLAVE_ASSIGN(const bool enough, fill(wanted));
      header = ahead().substr(0, largest_header).find(blank_line);
      if (!enough) break;
    }
    out = {};
    std::optional<std::uint64_t> length;
    if (header != std::string_view::npos) length = read_header(ahead().substr(0, header), out);
    if (!length) {
      report(ended_ && !members_->damage().empty() ? members_->damage() : "there is no record's header");
      CONCLAVE_RETURN_IF_ERROR(find_record(1));
      if (ahead().empty()) inside_ = false; // reported already
      continue;
    }
    header += blank_line.size();
    if (*length > max_body_) {
      report("the record is above max_document");
      CONCLAVE_RETURN_IF_ERROR(pass(static_cast<std::int64_t>(header + *length)));
      continue;
    }
    const std::size_t end = header + static_cast<std::size_t>(*length);
    CONCLAVE_RETURN_IF_ERROR(fill(end + blank_line.size() + 1).status()); // + 1: is there a record behind it?
    const std::string_view behind = ahead().size() < end ? std::string_view{} : ahead().substr(end, blank_line.size());
    const bool last = ended_ && ahead().size() <= end + blank_line.size();
    const bool whole = behind == blank_line; // asked for even at a member's end: it tells a length that is off by a few
    if (!whole || (last && !members_->damage().empty())) {
      report(ended_ && !members_->damage().empty() ? members_->damage() : "its Content-Length does not fit");
      CONCLAVE_RETURN_IF_ERROR(find_record(header - blank_line.size())); // an empty body's end is the header's
      if (ahead().empty()) inside_ = false;
      continue;
    }
    out.member = members_->offset();
    out.position = position_;
    out.body = ahead().substr(header, end - header);
    at_ += end + behind.size(); // and no fill(): the body lies in the buffer
    position_ += static_cast<std::int64_t>(end + behind.size());
    return true;
  }
}

} // namespace conclave::warc
