// RendezvousPeers: what the ranks of a checkpoint say to each other goes through the store that they met at.
//
// Threading: any thread; two threads at a time use two keys.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/peers.hpp"
#include "launch/rendezvous.hpp"

namespace conclave {

class RendezvousPeers final : public Peers {
 public:
  /// `interrupted` is asked while a call waits, which ends with the error if there is one. The rendezvous outlives this.
  RendezvousPeers(Rendezvous& rendezvous, std::function<std::optional<Error>()> interrupted)
      : rendezvous_(rendezvous), interrupted_(std::move(interrupted)) {}

  [[nodiscard]] int rank() const override { return rendezvous_.settings().ranks.rank; }
  [[nodiscard]] int size() const override { return rendezvous_.settings().ranks.world_size; }
  Result<std::vector<std::string>> gather(const std::string& key, const std::string& text) override;
  Result<std::string> broadcast(const std::string& key, const std::string& text) override;

 private:
  /// One for each key: a thread that waits for one does not hold up another.
  Result<Exchange*> connection(const std::string& key);

  Rendezvous& rendezvous_;
  std::function<std::optional<Error>()> interrupted_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Exchange>> connections_;
};

} // namespace conclave
