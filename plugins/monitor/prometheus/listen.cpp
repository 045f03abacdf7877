// Addresses and sockets.

#include "listen.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

namespace conclave::prometheus_monitor {
namespace {

/// Has colons, as only IPv6 addresses do.
bool is_ipv6(const std::string& host) { return host.find(':') != std::string::npos; }

/// The address as the socket calls want it; its length, or 0 when `host` is no numeric address.
socklen_t socket_address(const Endpoint& endpoint, sockaddr_storage& storage) {
  std::memset(&storage, 0, sizeof storage);
  if (is_ipv6(endpoint.host)) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(static_cast<std::uint16_t>(endpoint.port));
    return ::inet_pton(AF_INET6, endpoint.host.c_str(), &address->sin6_addr) == 1 ? sizeof *address : 0;
  }
  auto* address = reinterpret_cast<sockaddr_in*>(&storage);
  address->sin_family = AF_INET;
  address->sin_port = htons(static_cast<std::uint16_t>(endpoint.port));
  return ::inet_pton(AF_INET, endpoint.host.c_str(), &address->sin_addr) == 1 ? sizeof *address : 0;
}

} // namespace

std::string Endpoint::text() const { return (is_ipv6(host) ? "[" + host + "]" : host) + ":" + std::to_string(port); }

bool Endpoint::is_loopback() const { return host == "::1" || host.starts_with("127."); }

bool Endpoint::is_any() const { return host == "0.0.0.0" || host == "::"; }

Result<Endpoint> parse_endpoint(const std::string& text) {
  const auto wrong = [&](const char* what) {
    return invalid("'" + text + "' " + what, "write an address and a port, like 127.0.0.1:8000");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return wrong("names no address, which would be every network");
  Endpoint endpoint;
  endpoint.host = text.substr(0, colon);
  if (endpoint.host.size() > 2 && endpoint.host.front() == '[' && endpoint.host.back() == ']') {
    endpoint.host = endpoint.host.substr(1, endpoint.host.size() - 2);
    if (!is_ipv6(endpoint.host)) return wrong("is no address");
  } else if (is_ipv6(endpoint.host)) {
    return wrong("needs brackets around its IPv6 address");
  }
  if (endpoint.host == "localhost") endpoint.host = "127.0.0.1";
  const char* const begin = text.data() + colon + 1;
  const char* const end = text.data() + text.size();
  const auto [stopped, failed] = std::from_chars(begin, end, endpoint.port);
  if (begin == end || failed != std::errc() || stopped != end || endpoint.port < 0 || endpoint.port > 65535)
    return wrong("has no port between 0 and 65535");
  sockaddr_storage storage;
  if (socket_address(endpoint, storage) == 0) return wrong("is no numeric address");
  return endpoint;
}

Availability try_endpoint(const Endpoint& endpoint, std::string& reason) {
  sockaddr_storage storage;
  const socklen_t length = socket_address(endpoint, storage);
  const int socket = length > 0 ? ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  if (socket < 0) {
    reason = std::generic_category().message(errno);
    return Availability::failed;
  }
  const int on = 1; // as the server does it: a port in TIME_WAIT is free
  (void)::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool bound =
      ::bind(socket, reinterpret_cast<const sockaddr*>(&storage), length) == 0 && ::listen(socket, 1) == 0;
  const int error = bound ? 0 : errno;
  ::close(socket);
  if (bound) return Availability::free;
  reason = std::generic_category().message(error);
  return error == EADDRINUSE ? Availability::in_use : Availability::failed;
}

bool is_host(const std::string& text) {
  sockaddr_storage storage;
  if (is_ipv6(text)) return socket_address({text, 0}, storage) != 0;
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
  });
}

std::string machine_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

void touch_endpoint(const Endpoint& endpoint) noexcept {
  sockaddr_storage storage;
  const socklen_t length = socket_address(endpoint, storage);
  const int socket = length > 0 ? ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
  if (socket < 0) return;
  (void)::connect(socket, reinterpret_cast<const sockaddr*>(&storage), length);
  ::close(socket);
}

} // namespace conclave::prometheus_monitor
