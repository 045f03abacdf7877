// From keys to pairs to clusters, by sorting alone: what find_duplicates() does between a filter's keys and what is dropped.
//
// No table of documents is in memory, and the answers depend on the records alone.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "data/external_sort.hpp"

namespace conclave::data {

/// Different values of one key that are compared with each other. More are compared in runs of so many, in ascending order,
/// the least value heading each run: that bounds the time and may miss pairs.
inline constexpr std::size_t most_values = 8192;

/// Appends to `alike` the documents of those `others` whose value is like this one's.
using FindAlike = std::function<Status(const SortRecord& value, std::span<const SortRecord> others,
                                       std::vector<std::uint64_t>& alike)>;

struct PairCounts {
  std::int64_t keys = 0;         ///< different records
  std::int64_t large_groups = 0; ///< keys with more than most_values different values
};

/// `keys` holds records {key, value, document} and is drained. `pairs` gets {later document, earlier document} for documents
/// with an equal value of one key, and for those that `find_alike` names. `progress` is told the records seen so far.
Result<PairCounts> pair_up(ExternalSort& keys, const FindAlike& find_alike, ExternalSort& pairs,
                           const std::stop_token& stop, const std::function<void(std::int64_t)>& progress = {});

/// Joins pairs: afterwards `pairs` holds {document, the first of its cluster}, once for each document but the first ones.
/// `other` is empty before and after; it lends its memory.
///
/// Large-star and small-star steps in turn: Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii, "Connected Components in
/// MapReduce and Beyond", SoCC 2014.
Status contract(ExternalSort& pairs, ExternalSort& other, const std::stop_token& stop);

} // namespace conclave::data
