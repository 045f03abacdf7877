// Body of a dictd database: see body.hpp.

#include "body.hpp"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::dictd {
namespace {

constexpr std::size_t largest_whole_body = std::size_t{1} << 30; // a gzip body without a table is held in memory
constexpr std::size_t largest_header = 1 << 20;

Result<bool> read_exactly(const std::string& path, std::int64_t offset, std::size_t length, std::string& out) {
  CONCLAVE_ASSIGN(const auto stream,
                  datakit::open_stored_bytes(path, {offset, offset + static_cast<std::int64_t>(length)}));
  CONCLAVE_ASSIGN(const bool fits, datakit::read_all(*stream, length, out));
  return fits && out.size() == length;
}

class PlainBody final : public Body {
 public:
  explicit PlainBody(std::string path) : path_(std::move(path)) {}
  Result<bool> read(std::int64_t offset, std::int64_t length, std::string& out) override {
    // Articles are read in order, so a window saves opening the file for each.
    if (offset < begin_ || offset + length > begin_ + static_cast<std::int64_t>(window_.size())) {
      const std::int64_t wanted = std::max<std::int64_t>(length, 1 << 20);
      CONCLAVE_ASSIGN(const auto stream, datakit::open_stored_bytes(path_, {offset, offset + wanted}));
      CONCLAVE_ASSIGN(const bool fits, datakit::read_all(*stream, static_cast<std::size_t>(wanted), window_));
      static_cast<void>(fits); // the range bounds it
      begin_ = offset;
    }
    const auto available = static_cast<std::int64_t>(window_.size()) - (offset - begin_);
    if (available < length) return false;
    out.assign(window_, static_cast<std::size_t>(offset - begin_), static_cast<std::size_t>(length));
    return true;
  }

 private:
  std::string path_, window_;
  std::int64_t begin_ = 0;
};

class WholeBody final : public Body {
 public:
  explicit WholeBody(std::string content) : content_(std::move(content)) {}
  Result<bool> read(std::int64_t offset, std::int64_t length, std::string& out) override {
    const auto size = static_cast<std::int64_t>(content_.size());
    if (offset > size || length > size - offset) return false;
    out.assign(content_, static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
    return true;
  }

 private:
  std::string content_;
};

/// The chunk table of a dictzip file.
struct ChunkTable {
  std::int64_t chunk_length = 0;     ///< uncompressed bytes of each chunk but the last
  std::vector<std::int64_t> offsets; ///< of each chunk in the file, and of the end of the last
};

unsigned little16(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]) | static_cast<unsigned>(static_cast<unsigned char>(bytes[at + 1])) << 8;
}

/// Reads the table out of a gzip header; nullopt when the file has none. `header` may be cut.
std::optional<ChunkTable> parse_table(std::string_view header) {
  constexpr unsigned flag_crc = 2, flag_extra = 4, flag_name = 8, flag_comment = 16;
  if (header.size() < 12 || !header.starts_with("\x1F\x8B\x08")) return std::nullopt;
  const auto flags = static_cast<unsigned char>(header[3]);
  if (!(flags & flag_extra)) return std::nullopt;
  std::size_t at = 12;
  const std::size_t extra_end = at + little16(header, 10);
  if (extra_end > header.size()) return std::nullopt;
  ChunkTable table;
  while (at + 4 <= extra_end) {
    const std::string_view name = header.substr(at, 2);
    const std::size_t length = little16(header, at + 2);
    at += 4;
    if (at + length > extra_end) return std::nullopt;
    if (name == "RA" && length >= 6 && little16(header, at) == 1) {
      table.chunk_length = little16(header, at + 2);
      const std::size_t count = little16(header, at + 4);
      if (table.chunk_length == 0 || length < 6 + 2 * count) return std::nullopt;
      table.offsets.assign(1, 0);
      for (std::size_t i = 0; i < count; ++i)
        table.offsets.push_back(table.offsets.back() + little16(header, at + 6 + 2 * i));
    }
    at += length;
  }
  if (table.offsets.empty()) return std::nullopt;
  at = extra_end;
  for (const unsigned flag : {flag_name, flag_comment}) {
    if (!(flags & flag)) continue;
    const std::size_t zero = header.find('\0', at);
    if (zero == std::string_view::npos) return std::nullopt;
    at = zero + 1;
  }
  if (flags & flag_crc) at += 2;
  for (std::int64_t& offset : table.offsets) offset += static_cast<std::int64_t>(at);
  return table;
}

class DictzipBody final : public Body {
 public:
  DictzipBody(std::string path, ChunkTable table) : path_(std::move(path)), table_(std::move(table)) {}

  Result<bool> read(std::int64_t offset, std::int64_t length, std::string& out) override {
    out.clear();
    while (length > 0) {
      const std::int64_t chunk = offset / table_.chunk_length;
      if (chunk + 1 >= static_cast<std::int64_t>(table_.offsets.size())) return false;
      CONCLAVE_RETURN_IF_ERROR(inflate_chunk(chunk));
      const auto inside = static_cast<std::size_t>(offset % table_.chunk_length);
      if (inside >= current_.size()) return false;
      const std::size_t part = std::min(current_.size() - inside, static_cast<std::size_t>(length));
      out.append(current_, inside, part);
      offset += static_cast<std::int64_t>(part);
      length -= static_cast<std::int64_t>(part);
    }
    return true;
  }

 private:
  Status inflate_chunk(std::int64_t chunk) {
    if (chunk == current_chunk_) return {};
    current_chunk_ = -1;
    const auto index = static_cast<std::size_t>(chunk);
    const auto stored = static_cast<std::size_t>(table_.offsets[index + 1] - table_.offsets[index]);
    CONCLAVE_ASSIGN(const bool there, read_exactly(path_, table_.offsets[index], stored, compressed_));
    if (!there) return storage_error("the dictzip data ends in the middle", "fetch the file again", path_);
    current_.resize(static_cast<std::size_t>(table_.chunk_length));
    z_stream state{};
    if (inflateInit2(&state, -15) != Z_OK) return internal_error("zlib could not start", path_);
    state.next_in = reinterpret_cast<Bytef*>(compressed_.data());
    state.avail_in = static_cast<uInt>(compressed_.size());
    state.next_out = reinterpret_cast<Bytef*>(current_.data());
    state.avail_out = static_cast<uInt>(current_.size());
    const int code = inflate(&state, Z_PARTIAL_FLUSH);
    current_.resize(current_.size() - state.avail_out);
    inflateEnd(&state);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
      return storage_error("chunk " + std::to_string(chunk) + " of the dictzip data is damaged", "fetch the file again",
                           path_);
    current_chunk_ = chunk;
    return {};
  }

  std::string path_;
  ChunkTable table_;
  std::string compressed_, current_;
  std::int64_t current_chunk_ = -1;
};

} // namespace

Result<std::unique_ptr<Body>> open_body(const std::string& path) {
  CONCLAVE_ASSIGN(const bool compressed, datakit::is_compressed(path));
  if (!compressed) return std::unique_ptr<Body>(std::make_unique<PlainBody>(path));
  std::string header;
  CONCLAVE_ASSIGN(const auto stored, datakit::open_stored_bytes(path, {0, largest_header}));
  CONCLAVE_RETURN_IF_ERROR(datakit::read_all(*stored, largest_header, header).status());
  if (auto table = parse_table(header))
    return std::unique_ptr<Body>(std::make_unique<DictzipBody>(path, std::move(*table)));
  std::string content;
  CONCLAVE_ASSIGN(const auto stream, datakit::open_bytes(path));
  CONCLAVE_ASSIGN(const bool fits, datakit::read_all(*stream, largest_whole_body, content));
  if (!fits) return invalid("the body is above 1 GiB and was not written by dictzip", "compress it with dictzip", path);
  return std::unique_ptr<Body>(std::make_unique<WholeBody>(std::move(content)));
}

Result<std::string> find_body(const std::string& index_path) {
  std::string stem = index_path;
  for (const char* end : {".gz", ".index"})
    if (stem.ends_with(end)) stem.resize(stem.size() - std::string_view(end).size());
  for (const char* end : {".dict.dz", ".dict", ".dict.gz"})
    if (std::error_code error; std::filesystem::is_regular_file(stem + end, error)) return stem + end;
  return invalid("there is no body beside the index: neither " + stem + ".dict.dz nor " + stem + ".dict",
                 "put the body beside the index, or leave the index out of `paths`", index_path);
}

} // namespace conclave::dictd
