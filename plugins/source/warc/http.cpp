// HTTP responses: see http.hpp.

#include "http.hpp"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "header_fields.hpp"

namespace conclave::warc {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), ascii_lower);
  return out;
}

/// A chunked body joined; nullopt where the first chunk is none. A body that is cut gives what there is.
std::optional<std::string> join_chunks(std::string_view body) {
  std::string joined;
  for (bool first = true;; first = false) {
    std::size_t size = 0;
    const auto [end, error] = std::from_chars(body.data(), body.data() + body.size(), size, 16);
    const std::size_t line = body.find('\n');
    if (error != std::errc() || line == std::string_view::npos)
      return first ? std::nullopt : std::optional(std::move(joined));
    const std::string_view rest = trimmed(body.substr(0, line).substr(static_cast<std::size_t>(end - body.data())));
    if (first && !rest.empty() && !rest.starts_with(';')) return std::nullopt;
    body.remove_prefix(line + 1);
    if (size == 0 || body.empty()) return joined;
    joined += body.substr(0, size);
    body.remove_prefix(std::min(size, body.size()));
    while (body.starts_with('\r') || body.starts_with('\n')) body.remove_prefix(1);
  }
}

/// `window_bits` as zlib's inflateInit2 has it: with a gzip header, with zlib's, without any.
bool inflate_all(std::string_view in, int window_bits, std::size_t limit, std::string& out) {
  out.clear();
  if (in.size() > std::numeric_limits<uInt>::max()) return false;
  z_stream state{};
  if (inflateInit2(&state, window_bits) != Z_OK) return false;
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  state.avail_in = static_cast<uInt>(in.size());
  int code = Z_OK;
  while (code == Z_OK && out.size() <= limit) {
    const std::size_t had = out.size();
    out.resize(had + std::clamp<std::size_t>(in.size(), 1 << 14, 1 << 20));
    state.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    state.avail_out = static_cast<uInt>(out.size() - had);
    code = inflate(&state, Z_NO_FLUSH);
    out.resize(out.size() - state.avail_out);
  }
  inflateEnd(&state);
  return code == Z_STREAM_END && out.size() <= limit;
}

} // namespace

MediaType parse_media_type(std::string_view field) {
  MediaType type;
  const std::size_t semicolon = field.find(';');
  type.name = lower(trimmed(field.substr(0, semicolon)));
  if (semicolon == std::string_view::npos) return type;
  const std::string parameters = lower(field.substr(semicolon));
  constexpr std::string_view name = "charset=";
  if (const std::size_t at = parameters.find(name); at != std::string::npos) {
    const std::string_view value = std::string_view(parameters).substr(at + name.size());
    type.charset = trimmed(value.substr(0, value.find_first_of(";,")));
  }
  return type;
}

HttpResponse parse_http(std::string_view message) {
  HttpResponse response;
  if (!message.starts_with("HTTP/")) return response;
  std::size_t end = message.find("\r\n\r\n");
  std::size_t gap = 4;
  if (const std::size_t bare = message.find("\n\n"); bare < end) { // servers that send bare line feeds
    end = bare;
    gap = 2;
  }
  const std::string_view header = message.substr(0, end);
  if (end != std::string_view::npos) response.body = message.substr(end + gap);
  if (const std::size_t space = header.find(' '); space != std::string_view::npos)
    std::from_chars(header.data() + space + 1, header.data() + header.size(), response.status);
  for_each_field(header, [&](std::string_view name, std::string_view value) {
    if (is_field(name, "Content-Type")) response.type = parse_media_type(value);
    if (is_field(name, "Transfer-Encoding")) response.chunked = lower(value).find("chunked") != std::string::npos;
    if (is_field(name, "Content-Encoding")) response.encoding = lower(value);
  });
  return response;
}

bool decode_body(const HttpResponse& response, std::size_t limit, std::string& out) {
  std::string_view body = response.body;
  std::optional<std::string> joined;
  if (response.chunked) joined = join_chunks(body);
  if (joined) body = *joined;
  const std::string& encoding = response.encoding;
  if (encoding == "gzip" || encoding == "x-gzip") {
    if (body.starts_with("\x1F\x8B")) return inflate_all(body, 15 + 16, limit, out);
  } else if (encoding == "deflate") { // some servers mean zlib's form and some the bare one
    if (inflate_all(body, 15, limit, out) || inflate_all(body, -15, limit, out)) return true;
  } else if (!encoding.empty() && encoding != "identity") {
    // br, zstd: only a crawler that undid it left something readable.
    if (body.find('<') == std::string_view::npos || body.find('\0') != std::string_view::npos) return false;
  }
  out.assign(body.substr(0, limit));
  return body.size() <= limit;
}

} // namespace conclave::warc
