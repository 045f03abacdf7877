// The permutation is one, and looks like one: fixed points and neighbours as rare as in a random permutation.

#include "data/feistel.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace conclave::data {
namespace {

TEST(Permutation, IsABijectionForEverySize) {
  const RandomStream stream(7, "test");
  for (std::uint64_t size = 1; size <= 600; ++size) {
    const Permutation permutation(size, stream, size);
    std::vector<bool> hit(size);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t to = permutation(i);
      ASSERT_LT(to, size);
      ASSERT_FALSE(hit[to]) << size;
      hit[to] = true;
    }
  }
}

TEST(Permutation, LooksRandom) {
  const RandomStream stream(7, "test");
  constexpr std::uint64_t size = 100'003, trials = 8;
  std::int64_t fixed = 0, adjacent = 0, same_as_next_number = 0;
  for (std::uint64_t number = 0; number < trials; ++number) {
    const Permutation permutation(size, stream, number), next(size, stream, number + 1);
    for (std::uint64_t i = 0; i + 1 < size; ++i) {
      fixed += permutation(i) == i;
      adjacent += permutation(i) + 1 == permutation(i + 1);
      same_as_next_number += permutation(i) == next(i);
    }
  }
  // Each is about Poisson with mean `trials` = 8; 8 + 6 sigma < 26.
  EXPECT_LT(fixed, 26);
  EXPECT_LT(adjacent, 26);
  EXPECT_LT(same_as_next_number, 26);
  EXPECT_GT(fixed + adjacent + same_as_next_number, 4);
}

TEST(Permutation, WorksNearTheEndOf64Bits) {
  const RandomStream stream(1, "test");
  const std::uint64_t size = (std::uint64_t{1} << 62) - 5;
  const Permutation permutation(size, stream, 0);
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_LT(permutation(size - 1 - i), size);
}

} // namespace
} // namespace conclave::data
