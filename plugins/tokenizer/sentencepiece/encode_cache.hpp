// EncodeCache: ids of words met before; and a pool of them, so that threads do not wait for each other.
//
// What this is: bounded memory (about 6 MiB a cache); a full one is emptied and fills again. What this is not: shared
// between threads while in use: encode() borrows one for the length of a call.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::sentencepiece_plugin {

class EncodeCache {
 public:
  static constexpr std::size_t longest_key = 64; ///< bytes; longer words are rare and not kept

  EncodeCache() : slots_(slot_count) {}
  /// The ids of a word, or null. Valid until the next insert().
  [[nodiscard]] const std::span<const std::int32_t>* find(std::string_view word);
  /// Precondition: find(word) was the last call and gave null; word.size() <= longest_key.
  void insert(std::string_view word, std::span<const std::int32_t> ids);

 private:
  static constexpr std::size_t slot_count = 1 << 17, most_entries = slot_count / 2;
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t key = 0, ids = 0;           ///< positions in the two stores
    std::uint16_t key_size = 0, id_count = 0; ///< key_size 0: free
  };
  std::vector<Slot> slots_;
  std::string keys_;
  std::vector<std::int32_t> ids_;
  std::span<const std::int32_t> found_;
  std::uint64_t hash_ = 0;
  std::size_t place_ = 0, entries_ = 0;
};

class EncodeCachePool {
 public:
  /// A cache for the caller alone; it comes back by itself.
  class Lease {
   public:
    Lease(EncodeCachePool& pool, std::unique_ptr<EncodeCache> cache) : pool_(&pool), cache_(std::move(cache)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_->give_back(std::move(cache_)); }
    EncodeCache* operator->() const noexcept { return cache_.get(); }

   private:
    EncodeCachePool* pool_;
    std::unique_ptr<EncodeCache> cache_;
  };

  Lease borrow();
  /// Forgets everything: the model has changed. No lease may be out.
  void clear();

 private:
  void give_back(std::unique_ptr<EncodeCache> cache);
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeCache>> free_;
};

} // namespace conclave::sentencepiece_plugin
