// Ranks as threads of one process, for tests of what many ranks do with checkpoints.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint/peers.hpp"

namespace conclave::checkpoint_test {

/// What the ranks share. Outlives all that uses its peers.
class MemoryPeers {
 public:
  explicit MemoryPeers(int size) {
    for (int rank = 0; rank < size; ++rank) ranks_.emplace_back(this, rank);
  }
  [[nodiscard]] Peers* at(int rank) { return &ranks_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] int size() const { return static_cast<int>(ranks_.size()); }

  /// Whoever waits for that rank, now or later, is told that it is lost.
  void lose(int rank) {
    const std::lock_guard lock(mutex_);
    lost_.insert(rank);
    changed_.notify_all();
  }

  /// `work(rank)` on a thread a rank; returns when all have.
  template <class Work>
  void run(Work work) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size(); ++rank) threads.emplace_back([&work, rank] { work(rank); });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  class Rank final : public Peers {
   public:
    Rank(MemoryPeers* all, int rank) : all_(all), rank_(rank) {}
    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return all_->size(); }
    Result<std::vector<std::string>> gather(const std::string& key, const std::string& text) override {
      return all_->gather(rank_, key, text);
    }
    Result<std::string> broadcast(const std::string& key, const std::string& text) override {
      return all_->broadcast(rank_, key, text);
    }

   private:
    MemoryPeers* all_;
    int rank_;
  };

  using Texts = std::map<int, std::string>; // by rank

  /// The texts of this rank's next exchange with that key. [locked]
  Texts& next(int rank, const std::string& key) { return said_[{key, calls_[{rank, key}]++}]; }

  /// Ok when `rank` has said something. A minute is for tests that would hang otherwise.
  Status wait_for(std::unique_lock<std::mutex>& lock, int rank, const std::string& key, const Texts& texts) {
    const bool decided = changed_.wait_for(lock, std::chrono::minutes(1),
                                           [&] { return texts.count(rank) > 0 || lost_.count(rank) > 0; });
    if (decided && texts.count(rank) > 0) return {};
    return Error{Code::peer_lost, key, "rank " + std::to_string(rank) + " was lost", {}};
  }

  Result<std::vector<std::string>> gather(int rank, const std::string& key, const std::string& text) {
    std::unique_lock lock(mutex_);
    Texts& texts = next(rank, key);
    texts[rank] = text;
    changed_.notify_all();
    std::vector<std::string> all;
    if (rank != 0) return all;
    for (int other = 0; other < size(); ++other) {
      CONCLAVE_RETURN_IF_ERROR(wait_for(lock, other, key, texts));
      all.push_back(texts[other]);
    }
    return all;
  }

  Result<std::string> broadcast(int rank, const std::string& key, const std::string& text) {
    std::unique_lock lock(mutex_);
    Texts& texts = next(rank, key);
    if (rank == 0) texts[0] = text;
    changed_.notify_all();
    CONCLAVE_RETURN_IF_ERROR(wait_for(lock, 0, key, texts));
    return texts[0];
  }

  std::deque<Rank> ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> lost_;
  std::map<std::pair<int, std::string>, int> calls_;
  std::map<std::pair<std::string, int>, Texts> said_; // by key and number; nodes stay where they are
};

} // namespace conclave::checkpoint_test
