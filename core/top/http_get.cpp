// Boost.Beast. Its time limits hold for asynchronous calls alone, so these are, on a loop that runs here.

#include "top/http_get.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>

namespace conclave::top {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = boost::asio::ip::tcp;

constexpr std::size_t largest_page = 256 << 20;

struct Target {
  std::string host, port = "80", path = "/metrics";
};

std::optional<Target> parse_url(const std::string& url) {
  static const std::string scheme = "http://";
  if (!url.starts_with(scheme)) return std::nullopt;
  const std::size_t slash = std::min(url.find('/', scheme.size()), url.size());
  std::string place = url.substr(scheme.size(), slash - scheme.size());
  Target target;
  if (slash + 1 < url.size()) target.path = url.substr(slash);
  const std::size_t bracket = place.find(']'); // of an IPv6 address
  const std::size_t colon = place.find(':', bracket == std::string::npos ? 0 : bracket);
  if (colon != std::string::npos) {
    target.port = place.substr(colon + 1);
    place.resize(colon);
  }
  if (place.size() > 2 && place.front() == '[' && place.back() == ']') place = place.substr(1, place.size() - 2);
  target.host = std::move(place);
  if (target.host.empty() || target.port.empty()) return std::nullopt;
  return target;
}

} // namespace

Result<std::string> http_get(const std::string& url, std::chrono::milliseconds limit) {
  const auto target = parse_url(url);
  if (!target) return invalid("'" + url + "' is no address of a page", "write it like http://127.0.0.1:8000/metrics");
  boost::asio::io_context loop;
  tcp::resolver resolver(loop);
  beast::tcp_stream stream(loop);
  http::request<http::empty_body> request{http::verb::get, target->path, 11};
  request.set(http::field::host, target->host);
  http::response_parser<http::string_body> answer;
  answer.body_limit(largest_page);
  beast::flat_buffer buffer;
  beast::error_code failed = beast::error::timeout; // until something else happens
  stream.expires_after(limit);
  resolver.async_resolve(target->host, target->port, [&](beast::error_code error, tcp::resolver::results_type places) {
    if ((failed = error)) return;
    stream.async_connect(places, [&](beast::error_code error_of_connect, const tcp::endpoint&) {
      if ((failed = error_of_connect)) return;
      http::async_write(stream, request, [&](beast::error_code error_of_write, std::size_t) {
        if ((failed = error_of_write)) return;
        http::async_read(stream, buffer, answer,
                         [&](beast::error_code error_of_read, std::size_t) { failed = error_of_read; });
      });
    });
  });
  loop.run_for(limit);
  if (failed || !answer.is_done())
    return unsupported("nothing comes from " + url + ": " + (failed ? failed : beast::error::timeout).message(),
                       "does the run still go on, with its metrics at that address and port?");
  if (answer.get().result() != http::status::ok)
    return unsupported(url + " answers " + std::to_string(answer.get().result_int()),
                       "give the page of the metrics: .../metrics");
  return answer.get().body();
}

} // namespace conclave::top
