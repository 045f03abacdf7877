// find_origins(): which text a document of the store came from.
//
// The store keeps no such list: the length gate's rule (gate.hpp) is gone through again.
//
// Threading: pure functions over what is immutable.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/stages.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

struct Origin {
  std::uint64_t document = 0;          ///< ordinal among the domain's texts
  std::uint64_t piece = 0, pieces = 1; ///< where the gate split it
};

/// Of documents of one split, in ascending order and within it. One pass over the lengths of the domain's kept texts.
std::vector<Origin> find_origins(const PrepareRequest& request, const PreparedStages& stages, std::size_t domain,
                                 Split split, std::span<const std::int64_t> documents);

/// A few texts that the gate dropped or cut, by reason ("too-short", "too-long", "cut"): ordinals, as of DropSample.
std::map<std::string, std::vector<std::uint64_t>> gate_samples(const PrepareRequest& request,
                                                               const PreparedStages& stages, std::size_t domain);

} // namespace conclave::data
