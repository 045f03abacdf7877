// PackTable: which documents share a sequence, so that whole documents fill sequences of one length with little padding.
//
// Documents are packed by best-fit decreasing, in groups of 65,536 that follow each other in the stream: of a group the
// longest document goes first, each into the pack whose free room it leaves smallest. A group costs n log n; groups are
// packed on many threads, and the table is the same for any number of them.
//
// The table is a stage of the cache, mapped: 2 bytes a document and 8 a pack, of which a run holds nothing in memory but the
// pages that it has just read. An entry is the document's place in its group, and since a group's documents take as many
// entries as it has documents, entry e belongs to group e / 65,536.
//
// What this is: the training split's packs for one length. What this is not: their tokens (samples.hpp).
//
// Threading: immutable; safe to read from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/files.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

inline constexpr std::int64_t pack_group = 1 << 16; ///< documents: what a 16-bit entry can tell apart

/// A group's documents in the order of its packs, and how many each pack has. Within a pack they keep their order.
struct GroupPacks {
  std::vector<std::uint16_t> order;
  std::vector<std::uint32_t> sizes;
};
/// Best-fit decreasing; of equal lengths the earlier document goes first. Lengths are in [0, capacity], at most pack_group.
GroupPacks pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity);

class PackTable {
 public:
  struct Request {
    std::int64_t length = 0; ///< S; a pack holds up to S + 1 tokens: inputs, and the label of the last
    std::filesystem::path cache;
    int workers = 1;
    std::stop_token stop;
    std::function<void(const std::string& text)> notice; ///< as PrepareRequest's
  };
  /// Finds the table in the cache, or makes it. A document of more than S + 1 tokens is an error: the length gate has split
  /// or cut those.
  static Result<std::shared_ptr<const PackTable>> make(const TokenStore& store, const Request& request);

  [[nodiscard]] std::int64_t length() const noexcept { return length_; }
  [[nodiscard]] std::int64_t packs(std::size_t domain) const noexcept;
  /// Entries [first, last) are a pack's documents.
  struct Entries {
    std::int64_t first = 0, last = 0;
  };
  [[nodiscard]] Entries entries(std::size_t domain, std::int64_t pack) const noexcept;
  [[nodiscard]] std::int64_t document(std::size_t domain, std::int64_t entry) const noexcept;

 private:
  struct Domain {
    MappedFile order, starts; ///< u16 by entry; u64 first entry of each pack, and the end
  };
  std::int64_t length_ = 0;
  std::vector<Domain> domains_;
};

} // namespace conclave::data
