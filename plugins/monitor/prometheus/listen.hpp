// Where the endpoint listens: reading `host:port`, and finding out why a port cannot be had.
//
// The HTTP server of prometheus-cpp takes a bare port as "every interface" and says nothing about an address that does not
// exist; so addresses are read and tried here first.
//
// Threading: pure but for the sockets that are opened and closed within a call.
#pragma once

#include <string>

#include "conclave/status.hpp"

namespace conclave::prometheus_monitor {

struct Endpoint {
  std::string host; ///< a numeric IPv4 address, an IPv6 one without brackets, or (to be announced only) a name
  int port = 0;     ///< 0 = any free one
  /// `127.0.0.1:8000` or `[::1]:8000`.
  [[nodiscard]] std::string text() const;
  /// Reachable from this machine alone.
  [[nodiscard]] bool is_loopback() const;
  /// Every address of this machine: 0.0.0.0 or ::.
  [[nodiscard]] bool is_any() const;
};

/// `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`. A bare port or a host name is an error that says what to write.
Result<Endpoint> parse_endpoint(const std::string& text);

enum class Availability { free, in_use, failed };
/// Binds and closes again. `reason` receives the system's words unless it is free.
Availability try_endpoint(const Endpoint& endpoint, std::string& reason);

/// A name that a resolver may know, or a numeric address without brackets; no port.
bool is_host(const std::string& text);
/// What others call this machine.
std::string machine_name();

/// Connects and hangs up at once; whether it worked does not matter.
void touch_endpoint(const Endpoint& endpoint) noexcept;

} // namespace conclave::prometheus_monitor
