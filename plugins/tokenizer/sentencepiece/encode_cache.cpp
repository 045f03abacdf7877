// EncodeCache: see encode_cache.hpp.

#include "encode_cache.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <utility>

namespace conclave::sentencepiece_plugin {

const std::span<const std::int32_t>* EncodeCache::find(std::string_view word) {
  hash_ = XXH3_64bits(word.data(), word.size());
  for (place_ = hash_ & (slot_count - 1);; place_ = (place_ + 1) & (slot_count - 1)) {
    const Slot& slot = slots_[place_];
    if (slot.key_size == 0) return nullptr;
    if (slot.hash != hash_ || std::string_view(keys_).substr(slot.key, slot.key_size) != word) continue;
    found_ = std::span(ids_).subspan(slot.ids, slot.id_count);
    return &found_;
  }
}

void EncodeCache::insert(std::string_view word, std::span<const std::int32_t> ids) {
  if (entries_ == most_entries) {
    std::ranges::fill(slots_, Slot{});
    keys_.clear();
    ids_.clear();
    entries_ = 0;
    place_ = hash_ & (slot_count - 1);
  }
  slots_[place_] = {hash_, static_cast<std::uint32_t>(keys_.size()), static_cast<std::uint32_t>(ids_.size()),
                    static_cast<std::uint16_t>(word.size()), static_cast<std::uint16_t>(ids.size())};
  keys_.append(word);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++entries_;
}

EncodeCachePool::Lease EncodeCachePool::borrow() {
  std::unique_ptr<EncodeCache> cache;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      cache = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!cache) cache = std::make_unique<EncodeCache>();
  return {*this, std::move(cache)};
}

void EncodeCachePool::clear() {
  const std::lock_guard lock(mutex_);
  free_.clear();
}

void EncodeCachePool::give_back(std::unique_ptr<EncodeCache> cache) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(cache));
}

} // namespace conclave::sentencepiece_plugin
