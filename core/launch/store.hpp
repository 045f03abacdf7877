// Store: the small key-value server that the ranks of a launch meet at, and one connection to it.
//
// What this is: c10d's TCPStore with errors as values and without its headers. What this is not: a place for tensors; a
// value is a short text.
//
// Nobody at the address is Code::peer_lost, as is a store that goes away: the process that hosts it is one of the run's.
// Something else that answers there is Code::unsupported: the launch does not fit.
//
// Threading: a server is its own thread. A connection serves one thread at a time and holds the caller while the server is
// silent, for ever if the process that hosts it is stopped; the watchdog is there for that.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

/// Where a server listens.
struct StoreAddress {
  std::string host = "127.0.0.1"; ///< a name or a number
  int port = 0;
  [[nodiscard]] std::string text() const { return host + ":" + std::to_string(port); }
};

class StoreServer {
 public:
  /// Listens until this object ends. On the one interface that has the address; on all when the address is this machine's
  /// only by another name, or is a loopback one although `remote` ranks will connect. Port 0 takes a free one. A port that
  /// somebody else has is Code::unsupported. `launch` is what connections ask for, to find out that they came to another
  /// run's store.
  static Result<std::unique_ptr<StoreServer>> start(const StoreAddress& address, bool remote,
                                                    const std::string& launch);
  ~StoreServer();
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;

  [[nodiscard]] int port() const noexcept;

 private:
  struct Impl;
  explicit StoreServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Store {
 public:
  /// Tries until something answers at the address. All keys get `prefix` in front.
  static Result<std::unique_ptr<Store>> connect(const StoreAddress& address, const std::string& prefix,
                                                std::chrono::milliseconds timeout);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// The numeric address that it is connected to.
  [[nodiscard]] const std::string& host() const noexcept;

  Status set(const std::string& key, const std::string& value);
  /// The value now; nothing when there is none.
  Result<std::optional<std::string>> find(const std::string& key);
  /// The values of keys that are there.
  Result<std::vector<std::string>> get(const std::vector<std::string>& keys);
  /// True when all keys are there, false when they are not in time. Looks less often the longer it takes, at least five times
  /// a second; `waited`: for how long the caller has waited for them already.
  Result<bool> wait(const std::vector<std::string>& keys, std::chrono::milliseconds timeout,
                    std::chrono::milliseconds waited = std::chrono::milliseconds(0));
  /// Adds to a counter, which begins at 0, and returns its new value.
  Result<std::int64_t> add(const std::string& key, std::int64_t count);
  Status remove(const std::string& key);

  /// What the server was started with as `launch`; nothing when it is not one of ours (torchrun's agent).
  Result<std::optional<std::string>> launch();

  struct Impl;
  /// For those who hand it on to c10d (core/launch/c10d_store.hpp).
  [[nodiscard]] Impl& impl() const noexcept { return *impl_; }

 private:
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace conclave
