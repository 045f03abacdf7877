// Entropies of distributions whose value is known.

#include "data/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

TEST(UnigramEntropy, KnownDistributions) {
  const testing::MemoryStore store({0.5, 0.5}, {{{1, 2, 3, 4}, {1, 2, 3, 4}}, {{7, 7}, {7, 8}}});
  const UnigramEntropy entropy = unigram_entropy(store, Split::held_out);
  EXPECT_NEAR(entropy.domains[0], std::log(4.0), 1e-12);
  EXPECT_NEAR(entropy.domains[1], -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)), 1e-12);
  double pooled = 0;
  for (const double p : {2.0 / 12, 2.0 / 12, 2.0 / 12, 2.0 / 12, 3.0 / 12, 1.0 / 12}) pooled -= p * std::log(p);
  EXPECT_NEAR(entropy.total, pooled, 1e-12);
  EXPECT_DOUBLE_EQ(bytes_per_token(store, Split::train, 1), 4.0);
}

TEST(UnigramEntropy, NoTokensIsNotANumber) {
  const testing::MemoryStore store({1}, {{}});
  EXPECT_TRUE(std::isnan(unigram_entropy(store, Split::train).total));
  EXPECT_TRUE(std::isnan(bytes_per_token(store, Split::train, 0)));
}

} // namespace
} // namespace conclave::data
