// The few things about sockets that the store's library leaves to chance: which interface to listen on, when a port is
// somebody else's, and which address others reach this machine by.
//
// Threading: any thread.
#pragma once

#include <chrono>
#include <string>

#include "conclave/status.hpp"
#include "io/file_handle.hpp"
#include "launch/store.hpp"

namespace conclave {

/// A bound TCP socket, not listening yet, and a numeric address that this machine reaches it by. As StoreServer::start says.
struct BoundSocket {
  FileHandle socket;
  StoreAddress address;
};
Result<BoundSocket> bind_socket(const StoreAddress& address, bool remote);

/// Tries to connect until somebody listens there; returns the numeric address that did. Code::peer_lost when nobody does.
Result<StoreAddress> find_listener(const StoreAddress& address, std::chrono::milliseconds timeout);

/// The numeric address of this machine's interface that leads to `host` (a numeric address); "" when none does.
std::string local_address_towards(const std::string& host);
[[nodiscard]] bool is_loopback(const std::string& numeric_host);

} // namespace conclave
