// The HTTP response inside a WARC record.
//
// What this is: what is needed to get at the page: status, type, charset, and the body without its transfer coding. What
// this is not: HTTP; a response that breaks its rules is read as far as it goes.
//
// Threading: pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace conclave::warc {

/// The type of a body, as a Content-Type field says it.
struct MediaType {
  std::string name;    ///< `text/html`, in lower case; empty: not said
  std::string charset; ///< as it stands there; empty: not said
};
MediaType parse_media_type(std::string_view field);

struct HttpResponse {
  int status = 0; ///< 0: there is no status line
  MediaType type;
  bool chunked = false;
  std::string encoding;  ///< `gzip`, in lower case; empty: none
  std::string_view body; ///< as it was sent
};
HttpResponse parse_http(std::string_view message);

/// The body without chunks and compression into `out` (replaced). Crawlers often undo both and keep the fields: what is
/// plainly neither chunked nor compressed is taken as it stands. False: it would be above `limit` bytes, is damaged, or is
/// compressed in a way that is not known here (gzip and deflate are).
bool decode_body(const HttpResponse& response, std::size_t limit, std::string& out);

} // namespace conclave::warc
