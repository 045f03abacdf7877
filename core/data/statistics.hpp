// What a store says about itself: the unigram entropy that a model must beat, and bytes per token.
//
// Threading: pure functions; each reads a split once.
#pragma once

#include <vector>

#include "data/token_store.hpp"

namespace conclave::data {

/// Entropy in nats per token of a split's own unigram distribution: the least nll of any model that ignores context, even
/// one that knows the split's token counts. NaN where there is no token.
struct UnigramEntropy {
  double total = 0;            ///< all domains' tokens pooled, each token counted once
  std::vector<double> domains; ///< each domain under its own distribution
};
UnigramEntropy unigram_entropy(const TokenStore& store, Split split);

/// UTF-8 bytes of text per stored token (end tokens count as tokens) of a domain; NaN where there is no token. Bits per
/// byte = nll in nats / (bytes per token * ln 2).
double bytes_per_token(const TokenStore& store, Split split, std::size_t domain);

/// How long documents are, in powers of two: counts[k] have 2^k to 2^(k+1) - 1 units; without one at the end.
struct LengthHistogram {
  std::vector<std::int64_t> counts;
  std::int64_t documents = 0, total = 0, largest = 0;
  /// A length of 0 is none: it is not counted.
  void add(std::int64_t length);
};
/// Tokens of the documents of a split, end tokens included.
LengthHistogram token_lengths(const TokenStore& store, Split split, std::size_t domain);

} // namespace conclave::data
