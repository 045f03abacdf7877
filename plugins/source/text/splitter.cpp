// Splitter: see splitter.hpp.

#include "splitter.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "conclave/datakit/utf8.hpp"

namespace conclave::text {
namespace {
constexpr std::size_t chunk_size = 256 << 10;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
} // namespace

Splitter::Splitter(std::unique_ptr<datakit::ByteStream> stream, SplitRule rule)
    : stream_(std::move(stream)), rule_(rule), chunk_(chunk_size, '\0') {}

Status Splitter::fill() {
  CONCLAVE_ASSIGN(const std::size_t got, stream_->read(chunk_.data(), chunk_.size()));
  if (got == 0) {
    ended_ = true;
    if (std::exchange(pending_return_, false)) buffer_.push_back('\r');
    return {};
  }
  std::string_view bytes(chunk_.data(), got);
  if (!started_) {
    started_ = true;
    binary_ = bytes.substr(0, 8192).find('\0') != std::string_view::npos;
    if (bytes.starts_with(byte_order_mark)) bytes.remove_prefix(byte_order_mark.size());
  }
  std::string decoded;
  if (rule_.windows_1252) {
    decoded = datakit::windows_1252_to_utf8(bytes);
    bytes = decoded;
  }
  if (!pending_return_ && bytes.find('\r') == std::string_view::npos) {
    buffer_.append(bytes);
    return {};
  }
  for (const char c : bytes) { // a CR is held back until the next byte tells whether it begins a CRLF
    if (pending_return_ && c != '\n') buffer_.push_back('\r');
    pending_return_ = c == '\r';
    if (!pending_return_) buffer_.push_back(c);
  }
  return {};
}

std::size_t Splitter::cut() const {
  const std::string_view all = std::string_view(buffer_).substr(begin_);
  const std::size_t blank = all.find("\n\n", rule_.enough > 2 ? rule_.enough - 2 : 0);
  if (blank != std::string_view::npos && blank + 2 <= rule_.maximum) {
    const std::size_t text = all.find_first_not_of('\n', blank); // further blank lines stay with what they end
    return text == std::string_view::npos ? all.size() : std::min(text, rule_.maximum);
  }
  if (all.size() <= rule_.maximum) return all.size();
  const std::string_view fits = all.substr(0, rule_.maximum);
  if (const std::size_t last = fits.rfind("\n\n"); last != std::string_view::npos) return last + 2;
  if (const std::size_t last = fits.rfind('\n'); last != std::string_view::npos) return last + 1;
  const std::size_t boundary = datakit::character_boundary(all, rule_.maximum);
  return boundary > 0 ? boundary : rule_.maximum;
}

Result<bool> Splitter::next(std::string& text) {
  text.clear();
  while (!ended_ && buffer_.size() - begin_ <= rule_.maximum) {
    buffer_.erase(0, std::exchange(begin_, 0));
    CONCLAVE_RETURN_IF_ERROR(fill());
  }
  if (begin_ == buffer_.size()) return false;
  const std::size_t length = cut();
  text.assign(buffer_, begin_, length);
  begin_ += length;
  return true;
}

} // namespace conclave::text
