// Packs: as tight as a plain best-fit decreasing, each document once, and the same table for any number of threads.

#include "data/pack_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "conclave/random.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::MemoryStore;
using testing::TemporaryFolder;
using Lengths = std::vector<std::int64_t>;

/// Best-fit decreasing as the textbook says it: every document looks at every pack. Free room of each pack, sorted.
Lengths rooms_of_textbook(Lengths lengths, std::int64_t capacity) {
  std::sort(lengths.rbegin(), lengths.rend());
  Lengths rooms;
  for (const std::int64_t length : lengths) {
    auto best = rooms.end();
    for (auto room = rooms.begin(); room != rooms.end(); ++room)
      if (*room >= length && (best == rooms.end() || *room < *best)) best = room;
    if (best == rooms.end())
      rooms.push_back(capacity - length);
    else
      *best -= length;
  }
  std::sort(rooms.begin(), rooms.end());
  return rooms;
}

Lengths some_lengths(std::uint64_t trial, std::int64_t capacity) {
  const RandomStream random(trial, "lengths");
  Lengths lengths(1 + random.below(0, 400));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto all = static_cast<std::uint64_t>(capacity);
    // Of any length; of few lengths, near a half and a third; mostly short ones.
    const std::uint64_t bound = trial % 3 == 0 ? all : trial % 3 == 1 ? all / 2 + 2 : 1 + all / 20;
    lengths[i] = 1 + static_cast<std::int64_t>(random.below(i + 1, bound));
    if (trial % 3 == 1 && i % 2 == 0) lengths[i] = capacity / 3 + static_cast<std::int64_t>(i % 3);
  }
  return lengths;
}

TEST(PackBestFit, IsTheTextbooksBestFitDecreasing) {
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    const std::int64_t capacity = 16 + static_cast<std::int64_t>(trial) * 13 % 500;
    const Lengths lengths = some_lengths(trial, capacity);
    const GroupPacks packs = pack_best_fit(lengths, capacity);
    ASSERT_EQ(packs.order.size(), lengths.size());
    ASSERT_EQ(std::set<std::uint16_t>(packs.order.begin(), packs.order.end()).size(), lengths.size());
    Lengths rooms;
    auto document = packs.order.begin();
    for (const std::uint32_t size : packs.sizes) {
      ASSERT_TRUE(std::is_sorted(document, document + size)) << "within a pack documents keep their order";
      std::int64_t room = capacity;
      for (std::uint32_t i = 0; i < size; ++i) room -= lengths[*document++];
      ASSERT_GE(room, 0);
      rooms.push_back(room);
    }
    EXPECT_EQ(document, packs.order.end());
    std::sort(rooms.begin(), rooms.end());
    EXPECT_EQ(rooms, rooms_of_textbook(lengths, capacity)) << "trial " << trial;
  }
}

std::shared_ptr<const TokenStore> store_of(const std::vector<Lengths>& domains) {
  std::vector<std::vector<std::vector<std::int32_t>>> documents;
  for (const Lengths& lengths : domains)
    for (auto& all = documents.emplace_back(); const std::int64_t length : lengths)
      all.emplace_back(static_cast<std::size_t>(length), 1);
  return std::make_shared<MemoryStore>(std::vector<double>(domains.size(), 1.0 / static_cast<double>(domains.size())),
                                       documents);
}

TEST(PackTable, HoldsEveryDocumentOnceAndIsTheSameForAnyNumberOfThreads) {
  Lengths many;
  for (int i = 0; i < 140'000; ++i) many.push_back(1 + i * 7919 % 33); // three groups, the last not full
  const auto store = store_of({many, {5, 5, 5}});
  PackTable::Request request;
  request.length = 32;
  std::vector<std::int64_t> first;
  for (const int workers : {1, 2, 4}) {
    const TemporaryFolder folder;
    request.cache = folder.path();
    request.workers = workers;
    for (const bool cached : {false, true}) {
      const auto table = PackTable::make(*store, request);
      ASSERT_TRUE(table.ok()) << table.error().render();
      std::vector<std::int64_t> order;
      std::set<std::int64_t> seen;
      for (std::int64_t pack = 0; pack < (*table)->packs(0); ++pack) {
        const auto [begin, end] = (*table)->entries(0, pack);
        std::int64_t tokens = 0;
        for (std::int64_t entry = begin; entry < end; ++entry) {
          const std::int64_t document = (*table)->document(0, entry);
          ASSERT_TRUE(seen.insert(document).second);
          order.push_back(document);
          tokens += many[static_cast<std::size_t>(document)];
        }
        ASSERT_LE(tokens, 33);
        ASSERT_GT(tokens, 0);
      }
      ASSERT_EQ(seen.size(), many.size());
      EXPECT_EQ((*table)->packs(1), 1);
      if (first.empty()) first = order;
      EXPECT_EQ(order, first) << workers << " workers, cached " << cached;
    }
  }
}

TEST(PackTable, RefusesADocumentLongerThanAPack) {
  const TemporaryFolder folder;
  PackTable::Request request;
  request.length = 8;
  request.cache = folder.path();
  const auto table = PackTable::make(*store_of({{3, 9, 10}}), request);
  ASSERT_FALSE(table.ok());
  EXPECT_NE(table.error().what.find("document 2 of domain 'domain0' has 10 tokens and a pack holds 9"),
            std::string::npos)
      << table.error().what;
}

} // namespace
} // namespace conclave::data
