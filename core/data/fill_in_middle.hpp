// Fill in the middle: documents rearranged so that a model learns to write what stands between two texts (Bavarian et al.,
// "Efficient training of language models to fill in the middle", 2022).
//
// What this is: the rearrangement of one document's tokens, cut between tokens at two random places. What this is not: which
// documents a sample holds (samples.hpp).
//
// Threading: pure.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace conclave::data {

struct FillInMiddle {
  double rate = 0;                                    ///< share of the documents that are rearranged
  double spm = 0;                                     ///< share of those in the form suffix, prefix, middle
  std::int32_t prefix = -1, suffix = -1, middle = -1; ///< tokens that stand before each part
  /// By domain of the store; empty: all of them.
  std::vector<bool> domains;
  [[nodiscard]] bool applies(std::size_t domain) const { return rate > 0 && (domains.empty() || domains[domain]); }
};

/// Decides by four random words whether and how; true when it was rearranged:
///   PREFIX prefix SUFFIX suffix MIDDLE middle    or, as spm says,    PREFIX SUFFIX suffix MIDDLE prefix middle
/// The length stays: the three marks take the place of the document's last three tokens. One that holds no more than them
/// stays as it is. `document` has no end token.
bool fill_in_middle(const FillInMiddle& settings, const std::array<std::uint32_t, 4>& random,
                    std::span<std::int32_t> document);

} // namespace conclave::data
