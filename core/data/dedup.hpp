// find_duplicates(): the host's half of a DedupFilter. It collects (key, document) pairs of all documents still alive,
// sorts them, and lets the filter resolve each group that shares a key.
//
// What this is not: the measure of likeness; that is the filter's. The sort is in memory: 16 bytes a pair, and more than
// max_dedup_pairs (2^31, 32 GiB) are refused; a sort on disk is for corpora beyond that.
//
// Threading: keys are computed on the context's workers; resolve() is called on the calling thread, group by group in
// ascending order of (domain when domains never meet, key).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/stages.hpp"

namespace conclave::data {

inline constexpr std::size_t max_dedup_pairs = std::size_t{1} << 31;

struct Duplicates {
  std::string reason;
  std::vector<std::vector<bool>> drop; ///< [domain][position in alive[domain]]
};

/// alive[domain]: ordinals within the domain, ascending. Document order over the whole corpus is (domain, ordinal).
Result<Duplicates> find_duplicates(const StageContext& context, const FilterStage& filter,
                                   const FilterInstances& instances, const std::vector<ColumnStore>& columns,
                                   const std::vector<std::vector<std::uint64_t>>& alive);

} // namespace conclave::data
