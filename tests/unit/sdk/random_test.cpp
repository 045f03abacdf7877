// RandomStream: the generator's published vectors, pinned streams, and the distributions' moments.

#include "conclave/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

namespace conclave {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Philox4x32-10 written from the paper's equations, as an oracle for any key.
Words philox(Words c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
    k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
  }
  return c;
}

TEST(Philox, OracleGivesThePublishedVectors) { // Random123, kat_vectors
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The key schedule of names, written again: runs and checkpoints depend on it, so it may not change unseen.
std::uint64_t hash_name(std::uint64_t seed, std::string_view name, std::uint64_t salt) {
  std::uint64_t h = 14695981039346656037ull ^ salt;
  for (int i = 0; i < 8; ++i) h = (h ^ ((seed >> (8 * i)) & 255)) * 1099511628211ull;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

TEST(RandomStream, IsPhiloxKeyedBySeedAndName) {
  for (const std::uint64_t seed : {0ull, 7ull, 0xffffffffffffffffull}) {
    for (const char* name : {"", "data", "model.layers.0.weight"}) {
      const std::uint64_t key = hash_name(seed, name, 0), stream = hash_name(seed, name, 0x5bf03635dcd1f0a5ull);
      for (const std::uint64_t n : {0ull, 1ull, 0x1'0000'0000ull, 0xffffffffffffffffull}) {
        const Words expected = philox({static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(n >> 32),
                                       static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                                      {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
        EXPECT_EQ(RandomStream(seed, name).block(n), expected);
      }
    }
  }
}

TEST(RandomStream, StreamsDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    for (const char* name : {"a", "b", "ab", "ba"})
      for (std::uint64_t n = 0; n < 10; ++n) EXPECT_TRUE(seen.insert(RandomStream(seed, name).bits(n)).second);
}

TEST(RandomStream, UniformAndNormalHaveTheirMoments) {
  const RandomStream stream(1, "moments");
  constexpr int n = 100'000;
  double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, normal_fourth = 0, pairs = 0;
  for (int i = 0; i < n; ++i) {
    const double u = stream.uniform(static_cast<std::uint64_t>(i)), z = stream.normal(static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
    normal_sum += z;
    normal_squares += z * z;
    normal_fourth += z * z * z * z;
    if (i % 2 == 1) pairs += z * stream.normal(static_cast<std::uint64_t>(i - 1));
  }
  // Five standard deviations of each estimate.
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(squares / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
  EXPECT_NEAR(normal_sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(normal_squares / n, 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(normal_fourth / n, 3, 5 * std::sqrt(96.0 / n));
  EXPECT_NEAR(pairs / (0.5 * n), 0, 5 / std::sqrt(0.5 * n)) << "both halves of a block are independent";
}

TEST(RandomStream, BelowIsInRangeAndEven) {
  const RandomStream stream(2, "below");
  std::array<int, 7> counts{};
  constexpr int n = 70'000;
  for (int i = 0; i < n; ++i) {
    const std::uint64_t draw = stream.below(static_cast<std::uint64_t>(i), counts.size());
    ASSERT_LT(draw, counts.size());
    ++counts[draw];
  }
  double chi = 0;
  for (const int count : counts) chi += (count - n / 7.0) * (count - n / 7.0) / (n / 7.0);
  EXPECT_LT(chi, 35) << "chi squared with 6 degrees of freedom";
  EXPECT_EQ(stream.below(3, 1), 0u);
}

} // namespace
} // namespace conclave
