// ByteStream over plain, gzip and zstd files.

#include "conclave/datakit/byte_stream.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace conclave::datakit {
namespace {

constexpr std::size_t input_size = 256 << 10;

class File {
 public:
  File() = default;
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_ = -1;
};

Error file_error(const std::string& path, const char* doing) {
  const int number = errno;
  return storage_error(std::string("cannot ") + doing + " the file: " + std::strerror(number),
                       number == EACCES ? "give this user the right to read it" : "check the disk and the path", path);
}

Error damaged(const std::string& path, std::string what) {
  return storage_error(std::move(what), "fetch or write the file again", path);
}

Result<File> open_file(const std::string& path) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return file_error(path, "open");
  return file;
}

/// Reads what is there at an offset, through interruptions; 0 at the end.
Result<std::size_t> read_at(const File& file, const std::string& path, char* out, std::size_t size,
                            std::int64_t offset) {
  for (;;) {
    const ssize_t got = ::pread(file.get(), out, size, offset);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return file_error(path, "read");
  }
}

class PlainStream final : public ByteStream {
 public:
  PlainStream(File file, std::string path, ByteRange range)
      : file_(std::move(file)), path_(std::move(path)), offset_(range.begin), end_(range.end) {}
  Result<std::size_t> read(char* out, std::size_t size) override {
    if (end_ >= 0)
      size = std::min<std::size_t>(size, static_cast<std::size_t>(std::max<std::int64_t>(end_ - offset_, 0)));
    if (size == 0) return std::size_t{0};
    auto got = read_at(file_, path_, out, size, offset_);
    if (got.ok()) offset_ += static_cast<std::int64_t>(*got);
    return got;
  }

 private:
  File file_;
  std::string path_;
  std::int64_t offset_, end_;
};

/// What the two decompressors share: a buffer of compressed bytes.
class CompressedStream : public ByteStream {
 protected:
  CompressedStream(File file, std::string path)
      : path_(std::move(path)), raw_(std::move(file), path_, {}), input_(input_size, '\0') {}
  /// Refills the empty buffer; false at the end of the file.
  Result<bool> refill() {
    CONCLAVE_ASSIGN(size_, raw_.read(input_.data(), input_.size()));
    position_ = 0;
    return size_ != 0;
  }
  std::string path_;
  PlainStream raw_;
  std::string input_;
  std::size_t position_ = 0, size_ = 0;
};

class GzipStream final : public CompressedStream {
 public:
  GzipStream(File file, std::string path) : CompressedStream(std::move(file), std::move(path)) {
    ready_ = inflateInit2(&state_, 15 + 16) == Z_OK; // 16: gzip headers only
  }
  ~GzipStream() override {
    if (ready_) inflateEnd(&state_);
  }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  Result<std::size_t> read(char* out, std::size_t size) override {
    if (!ready_) return internal_error("zlib could not start", path_);
    if (size == 0) return std::size_t{0};
    state_.next_out = reinterpret_cast<Bytef*>(out);
    state_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1u << 30));
    const uInt wanted = state_.avail_out;
    while (state_.avail_out == wanted) {
      if (position_ == size_) {
        CONCLAVE_ASSIGN(const bool more, refill());
        if (!more) {
          if (inside_) return damaged(path_, "the gzip data ends in the middle");
          return std::size_t{0};
        }
      }
      if (!inside_) {
        // Between members: zero padding, as tapes leave it, is passed over; anything else must be another member.
        while (position_ < size_ && input_[position_] == '\0' && after_first_) ++position_;
        if (position_ == size_) continue;
        inflateReset(&state_);
        inside_ = true;
      }
      state_.next_in = reinterpret_cast<Bytef*>(input_.data() + position_);
      state_.avail_in = static_cast<uInt>(size_ - position_);
      const int code = inflate(&state_, Z_NO_FLUSH);
      position_ = size_ - state_.avail_in;
      if (code == Z_STREAM_END) {
        inside_ = false;
        after_first_ = true;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return damaged(path_, std::string("the gzip data is damaged: ") + (state_.msg ? state_.msg : "unexpected end"));
      }
    }
    return static_cast<std::size_t>(wanted - state_.avail_out);
  }

 private:
  z_stream state_{};
  bool ready_ = false, inside_ = false, after_first_ = false;
};

class ZstdStream final : public CompressedStream {
 public:
  ZstdStream(File file, std::string path)
      : CompressedStream(std::move(file), std::move(path)), state_(ZSTD_createDStream()) {}

  Result<std::size_t> read(char* out, std::size_t size) override {
    if (!state_) return internal_error("zstd could not start", path_);
    if (size == 0) return std::size_t{0};
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      if (position_ == size_ && !pending_) {
        CONCLAVE_ASSIGN(const bool more, refill());
        if (!more) {
          if (inside_) return damaged(path_, "the zstd data ends in the middle");
          return std::size_t{0};
        }
      }
      ZSTD_inBuffer input{input_.data(), size_, position_};
      const std::size_t code = ZSTD_decompressStream(state_.get(), &output, &input);
      if (ZSTD_isError(code)) {
        return damaged(path_, std::string("the zstd data cannot be read: ") + ZSTD_getErrorName(code));
      }
      position_ = input.pos;
      inside_ = code != 0;                  // 0: a frame ended and all of it is out
      pending_ = output.pos == output.size; // the decoder may hold more than `out` could take
    }
    return output.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> state_;
  bool inside_ = false, pending_ = false;
};

enum class Compression { none, gzip, zstd };

Result<Compression> detect(const File& file, const std::string& path) {
  char magic[4] = {};
  CONCLAVE_ASSIGN(const std::size_t got, read_at(file, path, magic, sizeof magic, 0));
  const auto byte = [&](int i) { return static_cast<unsigned char>(magic[i]); };
  if (got >= 3 && byte(0) == 0x1F && byte(1) == 0x8B && byte(2) == 8) return Compression::gzip;
  const bool zstd_frame = got == 4 && byte(0) == 0x28 && byte(1) == 0xB5 && byte(2) == 0x2F && byte(3) == 0xFD;
  const bool skippable = got == 4 && (byte(0) & 0xF0) == 0x50 && byte(1) == 0x2A && byte(2) == 0x4D && byte(3) == 0x18;
  return zstd_frame || skippable ? Compression::zstd : Compression::none;
}

} // namespace

Result<std::unique_ptr<ByteStream>> open_bytes(const std::string& path, ByteRange range) {
  CONCLAVE_ASSIGN(File file, open_file(path));
  CONCLAVE_ASSIGN(const Compression compression, detect(file, path));
  if (compression == Compression::none)
    return std::unique_ptr<ByteStream>(std::make_unique<PlainStream>(std::move(file), path, range));
  if (!range.whole()) return internal_error("a part of a compressed file was asked for", path);
  if (compression == Compression::gzip)
    return std::unique_ptr<ByteStream>(std::make_unique<GzipStream>(std::move(file), path));
  return std::unique_ptr<ByteStream>(std::make_unique<ZstdStream>(std::move(file), path));
}

Result<std::unique_ptr<ByteStream>> open_stored_bytes(const std::string& path, ByteRange range) {
  CONCLAVE_ASSIGN(File file, open_file(path));
  return std::unique_ptr<ByteStream>(std::make_unique<PlainStream>(std::move(file), path, range));
}

Result<bool> is_compressed(const std::string& path) {
  CONCLAVE_ASSIGN(const File file, open_file(path));
  CONCLAVE_ASSIGN(const Compression compression, detect(file, path));
  return compression != Compression::none;
}

Result<std::int64_t> next_boundary(const std::string& path, std::int64_t offset, std::string_view separator) {
  if (offset <= 0) return std::int64_t{0};
  CONCLAVE_ASSIGN(const File file, open_file(path));
  const auto overlap = static_cast<std::int64_t>(separator.size());
  std::int64_t start = std::max<std::int64_t>(offset - overlap, 0);
  std::string window(64 << 10, '\0');
  for (;;) {
    std::size_t filled = 0;
    while (filled < window.size()) {
      CONCLAVE_ASSIGN(const std::size_t got, read_at(file, path, window.data() + filled, window.size() - filled,
                                                     start + static_cast<std::int64_t>(filled)));
      if (got == 0) break;
      filled += got;
    }
    const std::size_t found = std::string_view(window.data(), filled).find(separator);
    if (found != std::string_view::npos) return start + static_cast<std::int64_t>(found) + overlap;
    if (filled < window.size()) return start + static_cast<std::int64_t>(filled);
    start += static_cast<std::int64_t>(filled) - overlap + 1; // a separator may straddle two windows
  }
}

Result<bool> read_all(ByteStream& stream, std::size_t limit, std::string& out) {
  out.clear();
  std::size_t filled = 0;
  for (;;) {
    if (filled == out.size()) out.resize(std::max<std::size_t>(64 << 10, out.size() * 2));
    CONCLAVE_ASSIGN(const std::size_t got, stream.read(out.data() + filled, out.size() - filled));
    filled += got;
    if (got == 0 || filled > limit) break;
  }
  out.resize(std::min(filled, limit));
  return filled <= limit;
}

LineReader::LineReader(std::unique_ptr<ByteStream> stream, std::size_t limit)
    : stream_(std::move(stream)), limit_(limit), buffer_(input_size, '\0') {}

Result<LineReader::Line> LineReader::next(std::string& line) {
  line.clear();
  bool any = false, too_long = false;
  for (;;) {
    if (position_ == filled_) {
      if (!ended_) {
        CONCLAVE_ASSIGN(filled_, stream_->read(buffer_.data(), buffer_.size()));
        position_ = 0;
        ended_ = filled_ == 0;
      }
      if (ended_) break;
    }
    any = true;
    const std::string_view rest(buffer_.data() + position_, filled_ - position_);
    const std::size_t end = rest.find('\n');
    const std::size_t length = std::min(end, rest.size());
    if (line.size() + length > limit_) {
      too_long = true;
      line.clear();
    }
    if (!too_long) line.append(rest.substr(0, length));
    position_ += length + (end != std::string_view::npos ? 1 : 0);
    if (end != std::string_view::npos) break;
  }
  if (!any) return Line::none;
  ++count_;
  if (too_long) return Line::too_long;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return Line::text;
}

} // namespace conclave::datakit
