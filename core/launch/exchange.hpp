// Exchange: how ranks talk before, beside and after the steps: short texts through the store.
//
// The n-th call with a key meets the n-th call of the other ranks with that key. Calls with one key are made by every rank
// in the same order; keys of two exchanges of different names have nothing to do with each other.
//
// When ranks do not come in time, or the store goes away, the error is Code::peer_lost and names the ranks.
//
// Threading: one thread at a time; a thread of its own needs an exchange of its own (Rendezvous::connect).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "launch/store.hpp"

namespace conclave {

class Exchange {
 public:
  struct Settings {
    int rank = 0, size = 1;
    /// For rank 0 to wait for the others; they wait twice as long for its answer, which names who is missing. 0: as long as
    /// it takes.
    std::chrono::milliseconds timeout{0};
    /// Asked about once a second during a call, which returns with the error if there is one.
    std::function<std::optional<Error>()> interrupted;
  };
  Exchange(std::unique_ptr<Store> store, Settings settings);

  /// Every rank's text in rank order, on every rank.
  Result<std::vector<std::string>> exchange(const std::string& key, const std::string& text);
  /// The same on rank 0 alone; the others get an empty vector, maybe before rank 0 has theirs.
  Result<std::vector<std::string>> gather(const std::string& key, const std::string& text);
  /// Rank 0's text on every rank; it may return on rank 0 before anybody has asked.
  Result<std::string> broadcast(const std::string& key, const std::string& text);
  /// Returns when every rank has called it.
  Status barrier(const std::string& key);
  /// Every rank must give the same text, else Code::unsupported on every rank: how many kinds of `what` there are, and which
  /// ranks have which (by digest), those of the smaller camps named.
  Status agree(const std::string& what, const std::string& text);

  void set_interrupted(std::function<std::optional<Error>()> interrupted) {
    settings_.interrupted = std::move(interrupted);
  }
  [[nodiscard]] Store& store() noexcept { return *store_; }
  [[nodiscard]] int rank() const noexcept { return settings_.rank; }
  [[nodiscard]] int size() const noexcept { return settings_.size; }

 private:
  /// Keys that are not there when time is up, or nothing.
  Result<std::vector<std::string>> wait(const std::vector<std::string>& keys, std::chrono::milliseconds timeout);
  std::string next(const std::string& key);

  std::unique_ptr<Store> store_;
  Settings settings_;
  std::map<std::string, std::uint64_t> calls_; ///< by key
};

} // namespace conclave
