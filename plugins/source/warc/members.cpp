// Members: see members.hpp.

#include "members.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::warc {
namespace {

constexpr std::string_view magic = "\x1F\x8B\x08"; // gzip, deflated
constexpr std::string_view record_start = "WARC/";
constexpr std::size_t header_bytes = 4; // the magic and the flags, whose upper three bits are never set

/// A z_stream of one gzip member.
class Inflater {
 public:
  Inflater() { ready_ = inflateInit2(&state_, 15 + 16) == Z_OK; } // + 16: a gzip header, whose checksum zlib tests
  ~Inflater() {
    if (ready_) inflateEnd(&state_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  struct Step {
    std::size_t taken, given;
    int code;
  };
  Step step(const char* in, std::size_t in_size, char* out, std::size_t out_size) {
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in));
    const auto offered = static_cast<uInt>(std::min(in_size, most)),
               wanted = static_cast<uInt>(std::min(out_size, most));
    state_.avail_in = offered;
    state_.next_out = reinterpret_cast<Bytef*>(out);
    state_.avail_out = wanted;
    const int code = ready_ ? inflate(&state_, Z_NO_FLUSH) : Z_MEM_ERROR;
    return {offered - state_.avail_in, wanted - state_.avail_out, code};
  }
  void reset() {
    if (ready_) inflateReset(&state_);
  }

 private:
  z_stream state_{};
  bool ready_ = false;
};

bool may_begin_member(std::string_view bytes) {
  return bytes.size() >= header_bytes && bytes.starts_with(magic) &&
         (static_cast<unsigned char>(bytes[magic.size()]) & 0xE0) == 0;
}

/// The file's bytes from any offset on, through a window.
class Window {
 public:
  explicit Window(std::string path) : path_(std::move(path)) {}

  /// Offset of the first byte of bytes().
  [[nodiscard]] std::int64_t offset() const noexcept { return offset_; }
  [[nodiscard]] std::string_view bytes() const noexcept { return std::string_view(buffer_).substr(at_); }
  void pass(std::size_t count) {
    at_ += count;
    offset_ += static_cast<std::int64_t>(count);
  }
  Status seek(std::int64_t offset) {
    if (const std::int64_t ahead = offset - offset_;
        stream_ && ahead >= 0 && ahead <= static_cast<std::int64_t>(bytes().size())) {
      pass(static_cast<std::size_t>(ahead));
      return {};
    }
    CONCLAVE_ASSIGN(stream_, datakit::open_stored_bytes(path_, {offset, -1}));
    buffer_.clear();
    at_ = 0;
    offset_ = offset;
    return {};
  }
  /// At least `count` bytes in bytes(); false when the file ends before.
  Result<bool> fill(std::size_t count) {
    while (buffer_.size() - at_ < count) {
      buffer_.erase(0, std::exchange(at_, 0));
      const std::size_t kept = buffer_.size();
      buffer_.resize(kept + chunk_bytes);
      CONCLAVE_ASSIGN(const std::size_t got, stream_->read(buffer_.data() + kept, chunk_bytes));
      buffer_.resize(kept + got);
      if (got == 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t chunk_bytes = 256 << 10;
  std::string path_;
  std::unique_ptr<datakit::ByteStream> stream_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::int64_t offset_ = 0;
};

class GzipMembers final : public Members {
 public:
  GzipMembers(std::string path, std::int64_t begin, std::int64_t end)
      : window_(std::move(path)), begin_(begin), end_(end < 0 ? std::numeric_limits<std::int64_t>::max() : end) {}

  Result<bool> next() override {
    std::array<char, 1 << 14> passed_over;
    for (std::size_t got = 1; inside_ && got > 0;) {
      CONCLAVE_ASSIGN(got, read(passed_over.data(), passed_over.size()));
    }
    // A damaged member may have swallowed the ones behind it: the search begins right after its own first byte.
    std::int64_t from = window_.offset();
    if (!started_) from = begin_;
    if (!damage_.empty()) from = offset_ + 1;
    const bool anywhere = !damage_.empty() || (!started_ && begin_ > 0);
    started_ = true;
    damage_.clear();
    CONCLAVE_RETURN_IF_ERROR(window_.seek(from));
    CONCLAVE_ASSIGN(const bool any, window_.fill(1));
    if (!any || from >= end_) return false;
    CONCLAVE_RETURN_IF_ERROR(window_.fill(header_bytes).status());
    if (anywhere) {
      CONCLAVE_ASSIGN(const bool found, search());
      if (!found) return false;
    }
    offset_ = window_.offset();
    if (!may_begin_member(window_.bytes())) {
      damage_ = "no gzip member begins where one should";
      return true;
    }
    inflater_.reset();
    inside_ = true;
    return true;
  }

  Result<std::size_t> read(char* out, std::size_t size) override {
    std::size_t given = 0;
    while (inside_ && given < size) {
      CONCLAVE_ASSIGN(const bool any, window_.fill(1));
      if (!any) {
        end_member("the file ends in the middle of a member");
        break;
      }
      const auto step = inflater_.step(window_.bytes().data(), window_.bytes().size(), out + given, size - given);
      window_.pass(step.taken);
      given += step.given;
      if (step.code == Z_STREAM_END) {
        end_member("");
      } else if (step.code == Z_MEM_ERROR) {
        return storage_error("zlib has no memory left", "give prepare more memory or fewer workers");
      } else if (step.code != Z_OK && step.code != Z_BUF_ERROR) {
        end_member("the compressed data is damaged");
      }
    }
    return given;
  }
  [[nodiscard]] std::int64_t offset() const noexcept override { return offset_; }
  [[nodiscard]] const std::string& damage() const noexcept override { return damage_; }

 private:
  void end_member(const char* damage) {
    inside_ = false;
    damage_ = damage;
  }

  /// Moves the window to the next member that begins a record. The first four bytes occur by chance in compressed data, the
  /// first bytes of a record behind them do not.
  Result<bool> search() {
    for (;;) {
      CONCLAVE_ASSIGN(const bool enough, window_.fill(probe_bytes));
      const std::string_view bytes = window_.bytes();
      if (bytes.size() < header_bytes) return false;
      for (std::size_t at = bytes.find(magic); at != std::string_view::npos; at = bytes.find(magic, at + 1)) {
        if (window_.offset() + static_cast<std::int64_t>(at) >= end_) return false;
        if (enough && bytes.size() - at < probe_bytes) { // look again with more behind it
          window_.pass(at);
          break;
        }
        if (!begins_record(bytes.substr(at))) continue;
        window_.pass(at);
        return true;
      }
      if (window_.bytes().size() < bytes.size()) continue;
      if (!enough) return false;
      window_.pass(bytes.size() - (magic.size() - 1));
      if (window_.offset() >= end_) return false;
    }
  }

  bool begins_record(std::string_view bytes) {
    if (!may_begin_member(bytes)) return false;
    std::array<char, record_start.size()> first;
    inflater_.reset();
    const auto step = inflater_.step(bytes.data(), bytes.size(), first.data(), first.size());
    return std::string_view(first.data(), step.given) == record_start;
  }

  // A member's header may name a file; what follows holds the first bytes of a record in any case.
  static constexpr std::size_t probe_bytes = 4096;

  Window window_;
  std::int64_t begin_, end_;
  Inflater inflater_;
  std::int64_t offset_ = 0;
  bool started_ = false, inside_ = false;
  std::string damage_;
};

class PlainMember final : public Members {
 public:
  PlainMember(std::unique_ptr<datakit::ByteStream> stream, bool begins_here)
      : stream_(std::move(stream)), started_(!begins_here) {}
  Result<bool> next() override { return !std::exchange(started_, true); }
  Result<std::size_t> read(char* out, std::size_t size) override { return stream_->read(out, size); }
  [[nodiscard]] std::int64_t offset() const noexcept override { return 0; }
  [[nodiscard]] const std::string& damage() const noexcept override { return none_; }

 private:
  std::unique_ptr<datakit::ByteStream> stream_;
  bool started_;
  std::string none_;
};

} // namespace

Result<std::unique_ptr<Members>> open_members(const std::string& path, std::int64_t begin, std::int64_t end) {
  // By the name, too: a .gz whose first bytes are damaged is still one.
  std::string head;
  CONCLAVE_ASSIGN(const auto stored,
                  datakit::open_stored_bytes(path, {0, static_cast<std::int64_t>(record_start.size())}));
  CONCLAVE_RETURN_IF_ERROR(datakit::read_all(*stored, record_start.size(), head).status());
  if (head.starts_with(magic) || (path.ends_with(".gz") && head != record_start))
    return std::unique_ptr<Members>(std::make_unique<GzipMembers>(path, begin, end));
  CONCLAVE_ASSIGN(auto stream, datakit::open_bytes(path));
  return std::unique_ptr<Members>(std::make_unique<PlainMember>(std::move(stream), begin == 0));
}

} // namespace conclave::warc
