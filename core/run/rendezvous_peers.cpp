// Peers over exchanges of the rendezvous.

#include "run/rendezvous_peers.hpp"

#include <chrono>

namespace conclave {

Result<std::vector<std::string>> RendezvousPeers::gather(const std::string& key, const std::string& text) {
  CONCLAVE_ASSIGN(Exchange* const exchange, connection(key));
  return exchange->gather(key, text);
}

Result<std::string> RendezvousPeers::broadcast(const std::string& key, const std::string& text) {
  CONCLAVE_ASSIGN(Exchange* const exchange, connection(key));
  return exchange->broadcast(key, text);
}

Result<Exchange*> RendezvousPeers::connection(const std::string& key) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Exchange>& held = connections_[key];
  if (held == nullptr) {
    CONCLAVE_ASSIGN(held, rendezvous_.connect("peers " + key, std::chrono::milliseconds(0)));
    held->set_interrupted(interrupted_);
  }
  return held.get();
}

} // namespace conclave
