// The permutation is one, and looks like one: fixed points and neighbours as rare as in a random permutation.

#include "data/feistel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
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

/// How unevenly neighbours of the order fall into a grid of cells: chi-square of (to(i), to(i + 1)). `low`: by their low digits,
/// else by the high ones.
template <class To>
double unevenness(std::uint64_t size, bool low, const To& to) {
  const std::uint64_t side =
      std::min<std::uint64_t>(16, static_cast<std::uint64_t>(std::sqrt(static_cast<double>(size) / 8)));
  const auto digit = [&](std::uint64_t value) { return low ? value % side : value * side / size; };
  std::vector<double> cells(side * side);
  for (std::uint64_t i = 0; i + 1 < size; ++i) ++cells[digit(to(i)) * side + digit(to(i + 1))];
  const double expected = static_cast<double>(size - 1) / static_cast<double>(cells.size());
  double sum = 0;
  for (const double cell : cells) sum += (cell - expected) * (cell - expected) / expected;
  return sum;
}

TEST(Permutation, NeighboursAreAsUnrelatedAsAfterATrueShuffle) {
  constexpr std::size_t orders = 400;
  const RandomStream stream(11, "test");
  std::mt19937_64 generator(11);
  for (const std::uint64_t size : {100u, 128u, 1000u, 4096u, 10'007u})
    for (const bool low : {false, true}) {
      std::vector<double> ours, shuffled;
      std::vector<std::uint64_t> order(size);
      for (std::uint64_t number = 0; number < orders; ++number) {
        ours.push_back(unevenness(size, low, Permutation(size, stream, number)));
        std::iota(order.begin(), order.end(), 0u);
        std::shuffle(order.begin(), order.end(), generator);
        shuffled.push_back(unevenness(size, low, [&](std::uint64_t i) { return order[i]; }));
      }
      std::sort(ours.begin(), ours.end());
      std::sort(shuffled.begin(), shuffled.end());
      // Kolmogorov and Smirnov's distance of the two samples; of equal distributions one in 20,000 is above the bound.
      double distance = 0;
      for (const double value : shuffled) {
        const auto share_below = [&](const std::vector<double>& all) {
          return static_cast<double>(std::upper_bound(all.begin(), all.end(), value) - all.begin()) / orders;
        };
        distance = std::max(distance, std::abs(share_below(ours) - share_below(shuffled)));
      }
      EXPECT_LT(distance, 2.3 * std::sqrt(2.0 / orders)) << "size " << size << (low ? " low" : " high") << " digits";
    }
}

TEST(Permutation, EveryOrderOfAFewIsEquallyLikely) {
  const RandomStream stream(12, "test");
  for (const std::uint64_t size : {2u, 3u, 4u, 5u, 6u, 7u}) {
    std::map<std::vector<std::uint64_t>, int> counts;
    std::size_t possible = 1;
    for (std::uint64_t i = 2; i <= size; ++i) possible *= i;
    const std::size_t draws = 100 * possible;
    for (std::uint64_t number = 0; number < draws; ++number) {
      const Permutation permutation(size, stream, number);
      std::vector<std::uint64_t> order;
      for (std::uint64_t i = 0; i < size; ++i) order.push_back(permutation(i));
      ++counts[order];
    }
    EXPECT_EQ(counts.size(), possible);
    double sum = 0;
    for (const auto& [order, count] : counts) sum += (count - 100.0) * (count - 100.0) / 100;
    const auto freedom = static_cast<double>(possible - 1);
    EXPECT_LT(sum, freedom + 6 * std::sqrt(2 * freedom)) << "size " << size;
  }
}

TEST(Permutation, WorksNearTheEndOf64Bits) {
  const RandomStream stream(1, "test");
  const std::uint64_t size = (std::uint64_t{1} << 62) - 5;
  const Permutation permutation(size, stream, 0);
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_LT(permutation(size - 1 - i), size);
}

} // namespace
} // namespace conclave::data
