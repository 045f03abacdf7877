// HTTP responses, header fields and names of languages.

#include "http.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include "language.hpp"

namespace conclave::warc {
namespace {

std::string compressed(const std::string& text, int window_bits) {
  z_stream state{};
  deflateInit2(&state, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 200, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(out.size() - state.avail_out);
  deflateEnd(&state);
  return out;
}

std::string body_of(const std::string& message, std::size_t limit = 1000) {
  std::string body;
  return decode_body(parse_http(message), limit, body) ? body : "<none>";
}

TEST(Http, StatusTypeAndBody) {
  const auto response =
      parse_http("HTTP/1.1 200 OK\r\ncontent-TYPE: Text/HTML; Charset=\"ISO-8859-1\"; x=y\r\n\r\nbody");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.type.name, "text/html");
  EXPECT_EQ(response.type.charset, "\"iso-8859-1\"");
  EXPECT_EQ(response.body, "body");
  EXPECT_EQ(parse_http("HTTP/1.0 404\nServer: x\n\nbody\r\n\r\n").status, 404);
  EXPECT_EQ(parse_http("HTTP/1.0 404\nServer: x\n\nbody\r\n\r\n").body, "body\r\n\r\n");
  EXPECT_EQ(parse_http("<html>").status, 0);
  EXPECT_EQ(parse_http("HTTP/1.1 200 OK\r\nContent-Type: text/html").body, "");
  EXPECT_EQ(parse_http("HTTP/1.1").status, 0);
}

TEST(Http, Chunks) {
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(body_of(head + "4\r\nwiki\r\n6;x=y\r\npedia \r\n0\r\n\r\n"), "wikipedia ");
  EXPECT_EQ(body_of(head + "4\r\nwiki\r\n60\r\ncut"), "wikicut");
  EXPECT_EQ(body_of(head + "<p>undone by the crawler\n"), "<p>undone by the crawler\n");
  EXPECT_EQ(body_of(head + "add more\nlines"), "add more\nlines"); // begins with hexadecimal digits
  EXPECT_EQ(body_of(head + "ffffffffffffffff\r\nx"), "x");
}

TEST(Http, Compression) {
  const std::string text(500, 'x');
  const auto message = [](const char* encoding, const std::string& body) {
    return std::string("HTTP/1.1 200 OK\r\nContent-Encoding: ") + encoding + "\r\n\r\n" + body;
  };
  EXPECT_EQ(body_of(message("gzip", compressed(text, 31))), text);
  EXPECT_EQ(body_of(message("deflate", compressed(text, 15))), text);
  EXPECT_EQ(body_of(message("deflate", compressed(text, -15))), text);
  EXPECT_EQ(body_of(message("gzip", compressed(text, 31)), 499), "<none>"); // a bomb is not unpacked
  EXPECT_EQ(body_of(message("gzip", compressed(text, 31).substr(0, 12))), "<none>");
  EXPECT_EQ(body_of(message("gzip", "<p>undone")), "<p>undone");
  EXPECT_EQ(body_of(message("br", "<p>undone")), "<p>undone");
  EXPECT_EQ(body_of(message("br", "\x0B\x02\x80")), "<none>");
}

TEST(LanguageTag, TwoLettersWhereThereAreSuch) {
  EXPECT_EQ(language_tag("eng"), "en");
  EXPECT_EQ(language_tag("zho,eng"), "zh");
  EXPECT_EQ(language_tag("DEU"), "de");
  EXPECT_EQ(language_tag("fr"), "fr");
  EXPECT_EQ(language_tag("ceb"), "ceb"); // no two letters
  EXPECT_EQ(language_tag("und"), "");
  EXPECT_EQ(language_tag(""), "");
  EXPECT_EQ(language_tag("english"), "");
  EXPECT_EQ(language_tag("e1g"), "");
}

} // namespace
} // namespace conclave::warc
