// Deduplication: sorting on disk against std::sort, clusters against union-find, and what prepare() keeps for any memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "data/clusters.hpp"
#include "data/external_sort.hpp"
#include "data/prepare.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::documents_of;
using testing::domain;
using testing::EqualFilter;
using testing::FakeSource;
using testing::Shards;
using testing::small_request;
using testing::some_texts;
using testing::TemporaryFolder;

constexpr std::size_t small = 1 << 20; // the least there is: 43690 records

std::vector<SortRecord> drained(ExternalSort& sort) {
  std::vector<SortRecord> all;
  const Status status = sort.drain([&](std::span<const SortRecord> records) -> Status {
    all.insert(all.end(), records.begin(), records.end());
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.error().render();
  return all;
}

TEST(ExternalSort, GivesWhatSortAndUniqueGiveInMemoryAndOnDisk) {
  const TemporaryFolder folder;
  std::mt19937_64 random(1);
  for (const std::size_t count : {0u, 1u, 1000u, 43690u, 43691u, 200000u})
    for (const int workers : {1, 3}) {
      ExternalSort sort(folder.path(), small, workers);
      std::vector<SortRecord> expected;
      for (std::size_t i = 0; i < count; ++i) {
        expected.push_back({random() % 1000, random() % 10, random() % 10});
        ASSERT_TRUE(sort.add(expected.back()).ok());
      }
      EXPECT_EQ(sort.added(), count);
      EXPECT_EQ(sort.spilled() > 0, count * sizeof(SortRecord) + sizeof(SortRecord) > small) << count;
      std::ranges::sort(expected);
      expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
      EXPECT_EQ(drained(sort), expected) << count;
      EXPECT_EQ(sort.added(), 0u);
      ASSERT_TRUE(sort.add({3, 2, 1}).ok()); // as new
      EXPECT_EQ(drained(sort), (std::vector<SortRecord>{{3, 2, 1}}));
    }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())); // its file has no name
}

TEST(ExternalSort, SortsInPiecesOfItsThreads) {
  const TemporaryFolder folder;
  ExternalSort sort(folder.path(), std::size_t{48} << 20, 3); // pieces of 16 MiB
  std::mt19937_64 random(2);
  std::vector<SortRecord> expected;
  for (int i = 0; i < 2'500'000; ++i) {
    expected.push_back({random(), 0, 0});
    ASSERT_TRUE(sort.add(expected.back()).ok());
  }
  EXPECT_GT(sort.spilled(), 0u);
  std::ranges::sort(expected);
  EXPECT_TRUE(drained(sort) == expected);
}

TEST(ExternalSort, SaysWhereItCannotWrite) {
  const TemporaryFolder folder;
  ExternalSort sort(folder.path() / "absent", small, 1);
  Status status;
  for (std::uint64_t i = 0; status.ok() && i < 50000; ++i) status = sort.add({i, 0, 0});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
  EXPECT_THAT(status.error().render(), ::testing::HasSubstr("absent"));
}

TEST(ExternalSort, RefusesMoreRunsThanItHasRoomForABlockOf) {
  const TemporaryFolder folder;
  ExternalSort sort(folder.path(), small, 1);
  for (std::uint64_t i = 0; i < 65 * (small / sizeof(SortRecord)); ++i) ASSERT_TRUE(sort.add({i, 0, 0}).ok());
  const Status status = sort.drain([](std::span<const SortRecord>) -> Status { return {}; });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::unsupported);
  EXPECT_THAT(status.error().fix, ::testing::HasSubstr("data.memory"));
}

/// Pairs (later, earlier) and the first document of each one's cluster, by union-find.
std::vector<SortRecord> joined(const std::vector<SortRecord>& pairs, std::size_t documents) {
  std::vector<std::uint64_t> parent(documents);
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](std::uint64_t document) {
    while (parent[document] != document) document = parent[document];
    return document;
  };
  for (const SortRecord& pair : pairs) {
    const auto [first, second] = std::minmax({root(pair.key), root(pair.value)});
    parent[second] = first;
  }
  std::vector<SortRecord> stars;
  for (std::uint64_t document = 0; document < documents; ++document)
    if (root(document) != document) stars.push_back({document, root(document), 0});
  return stars;
}

TEST(Clusters, AreThoseOfUnionFind) {
  const TemporaryFolder folder;
  std::mt19937_64 random(3);
  const auto check = [&](std::vector<SortRecord> pairs, std::size_t documents, const char* what) {
    ExternalSort sort(folder.path(), small, 2), other(folder.path(), small, 2);
    std::ranges::shuffle(pairs, random);
    for (const SortRecord& pair : pairs) ASSERT_TRUE(sort.add(pair).ok());
    const Status status = contract(sort, other, {});
    ASSERT_TRUE(status.ok()) << status.error().render();
    EXPECT_EQ(drained(sort), joined(pairs, documents)) << what;
    EXPECT_EQ(other.added(), 0u);
  };
  check({}, 1, "none");
  std::vector<SortRecord> chain, shuffled_chain, star, grid;
  std::vector<std::uint64_t> order(5000);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, random);
  for (std::uint64_t i = 1; i < 5000; ++i) {
    chain.push_back({i, i - 1, 0});
    const auto [low, high] = std::minmax(order[i], order[i - 1]);
    shuffled_chain.push_back({high, low, 0});
    star.push_back({4999, i - 1, 0}); // all meet in the last one
  }
  check(chain, 5000, "chain");
  check(shuffled_chain, 5000, "shuffled chain");
  check(star, 5000, "star");
  for (const std::size_t count :
       {10u, 1000u, 2500u, 4000u, 60000u}) { // from scattered pairs to one large cluster, and on disk
    std::vector<SortRecord> pairs;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t a = random() % 5000, b = random() % 5000;
      if (a != b) pairs.push_back({std::max(a, b), std::min(a, b), 0});
    }
    check(pairs, 5000, "random");
  }
}

TEST(Clusters, StopOnRequest) {
  const TemporaryFolder folder;
  ExternalSort sort(folder.path(), small, 1), other(folder.path(), small, 1);
  ASSERT_TRUE(sort.add({1, 0, 0}).ok());
  std::stop_source stop;
  stop.request_stop();
  const Status status = contract(sort, other, stop.get_token());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::stopped);
}

/// The number at the end of a text is its value under one key; values are the same when they differ by at most `reach`.
class NumberFilter final : public DedupFilter {
 public:
  NumberFilter(std::uint64_t reach, int keys, DedupScope scope)
      : reach_(reach), keys_(keys), scope_(std::move(scope)) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return {{"number", ColumnType::bits64, ""}}; }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i) {
      const std::string_view text = documents[i].text;
      writer.set_bits(i, 0, std::stoull(std::string(text.substr(text.rfind(' ') + 1))));
    }
  }
  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }
  void keys(const ColumnRow& row, std::vector<DedupKey>& out) const override {
    if (keys_ == 1) return out.push_back({7, row.bits(0)});
    for (int k = 0; k < keys_; ++k) out.push_back({row.bits(0) * 64 + static_cast<std::uint64_t>(k), row.bits(0)});
  }
  [[nodiscard]] bool same(std::uint64_t value, std::uint64_t other) const override {
    return std::max(value, other) - std::min(value, other) <= reach_;
  }
  [[nodiscard]] const char* reason() const override { return "near"; }
  [[nodiscard]] DedupScope scope() const override { return scope_; }

 private:
  std::uint64_t reach_;
  int keys_;
  DedupScope scope_;
};

FilterStage number_filter(std::uint64_t reach, int keys = 1, const DedupScope& scope = {}) {
  return {"number",
          "filter/number",
          [=]() -> Result<std::shared_ptr<Filter>> {
            return std::shared_ptr<Filter>(std::make_shared<NumberFilter>(reach, keys, scope));
          },
          "number 1",
          "number " + std::to_string(reach) + " " + std::to_string(static_cast<int>(scope.within)) + scope.dump,
          {}};
}

std::string numbered(std::uint64_t number) { return "a text with the number " + std::to_string(number); }

/// What is left of one domain's numbers, in order.
std::vector<std::uint64_t> left(const PrepareRequest& request, PrepareReport& report) {
  auto store = prepare(request, report);
  if (!store.ok()) throw std::runtime_error(store.error().render());
  std::vector<std::uint64_t> numbers;
  for (const Split split : {Split::train, Split::held_out})
    for (std::int64_t i = 0; i < (*store)->documents(split, 0); ++i) {
      const std::int64_t begin = (*store)->document_start(split, 0, i), end = (*store)->document_start(split, 0, i + 1);
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(end - begin));
      (*store)->copy(split, 0, begin, end - begin, tokens.data());
      const std::string text(tokens.begin(), tokens.end() - 1);
      numbers.push_back(std::stoull(text.substr(text.rfind(' ') + 1)));
    }
  std::ranges::sort(numbers);
  return numbers;
}

PrepareRequest one_domain(const std::filesystem::path& cache, const Shards& shards) {
  PrepareRequest request = small_request(cache);
  request.domains = {domain("web", 1, std::make_shared<FakeSource>(shards))};
  return request;
}

TEST(Dedup, LikenessJoinsChainsAndTheFirstDocumentStays) {
  const TemporaryFolder folder;
  std::vector<std::string> texts;
  for (const std::uint64_t number : {5, 40, 3, 1, 42, 7, 100, 9}) texts.push_back(numbered(number));
  PrepareRequest request = one_domain(folder.path(), {texts});
  request.filters = {number_filter(2)};
  PrepareReport report;
  EXPECT_EQ(left(request, report), (std::vector<std::uint64_t>{5, 40, 100})); // 1 3 5 7 9 is one chain
}

TEST(Dedup, TheSameDocumentsStayForAnyMemoryAndAnyNumberOfWorkers) {
  std::mt19937_64 random(4);
  Shards shards(3);
  for (int i = 0; i < 30000; ++i)
    shards[static_cast<std::size_t>(i % 3)].push_back(numbered(random() % 60000 * 10 + random() % 3));
  std::vector<std::uint64_t> expected;
  std::string report_of_all;
  for (const std::int64_t memory : {std::int64_t{1} << 30, std::int64_t{2} << 20})
    for (const int workers : {1, 3}) {
      const TemporaryFolder folder;
      PrepareRequest request = one_domain(folder.path(), shards);
      request.filters = {number_filter(0, 8)}; // 240,000 keys of 24 bytes: above half of 2 MiB
      request.memory = memory;
      request.workers = workers;
      PrepareReport report;
      const auto found = left(request, report);
      if (expected.empty()) {
        std::set<std::uint64_t> numbers;
        for (const auto& shard : shards)
          for (const auto& text : shard) numbers.insert(std::stoull(text.substr(text.rfind(' ') + 1)));
        expected.assign(numbers.begin(), numbers.end());
        report_of_all = to_json(report);
      }
      EXPECT_EQ(found, expected) << memory << " " << workers;
      EXPECT_EQ(to_json(report), report_of_all);
    }
}

TEST(Dedup, ManyValuesOfOneKeyAreComparedInRunsAndCounted) {
  const TemporaryFolder folder;
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < 10000; ++i) texts.push_back(numbered(10 * i));
  texts.push_back(numbered(10 * 9000 + 1)); // near one of the second run
  texts.push_back(numbered(10 * 9500));     // equal ones need no comparison
  PrepareRequest request = one_domain(folder.path(), {texts});
  request.filters = {number_filter(1)};
  PrepareReport report;
  const auto found = left(request, report);
  EXPECT_EQ(found.size(), 10000u);
  ASSERT_EQ(report.dedup.size(), 1u);
  EXPECT_EQ(report.dedup[0].large_groups, 1);
  EXPECT_EQ(report.dedup[0].keys, 10002);
}

/// The fake's shards are called 0, 1, 2, 3; the first is empty. They are read in one part or in one each.
TEST(Dedup, DocumentsOfDifferentDumpsDoNotMeet) {
  const auto dropped = [](const DedupScope& scope, std::int64_t shard_bytes) {
    const TemporaryFolder folder;
    PrepareRequest request = small_request(folder.path());
    const std::vector<std::string> texts = {numbered(10), numbered(20), numbered(30)};
    const auto web = std::make_shared<FakeSource>(Shards{{}, texts, texts, texts});
    web->shard_bytes = shard_bytes;
    request.domains = {domain("web", 1, web),
                       domain("code", 1, std::make_shared<FakeSource>(Shards{texts, {numbered(40)}}))};
    request.filters = {number_filter(0, 1, scope)};
    PrepareReport report;
    const auto store = prepare(request, report);
    EXPECT_TRUE(store.ok()) << store.error().render();
    return std::pair(documents_of(report, "number", "web", "near"), documents_of(report, "number", "code", "near"));
  };
  using Within = DedupScope::Within;
  using Counts = std::pair<std::int64_t, std::int64_t>;
  for (const std::int64_t shard_bytes : {1, 20 << 20}) {
    EXPECT_EQ(dropped({Within::corpus, ""}, shard_bytes), Counts(6, 3));
    EXPECT_EQ(dropped({Within::domain, ""}, shard_bytes), Counts(6, 0));
    EXPECT_EQ(dropped({Within::dump, "[23]"}, shard_bytes), Counts(0, 0));
    EXPECT_EQ(dropped({Within::dump, "3"}, shard_bytes), Counts(3, 0)); // those without a match are one dump
  }
}

TEST(Dedup, TheCopyInTheFirstDomainStays) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  const std::vector<std::string> texts = {numbered(10), numbered(20), numbered(30)};
  request.domains = {domain("books", 1, std::make_shared<FakeSource>(Shards{{numbered(20), numbered(50)}})),
                     domain("web", 9, std::make_shared<FakeSource>(Shards{texts}))};
  request.filters = {number_filter(0)};
  PrepareReport report;
  ASSERT_TRUE(prepare(request, report).ok());
  EXPECT_EQ(documents_of(report, "number", "books", "near"), 0);
  EXPECT_EQ(documents_of(report, "number", "web", "near"), 1);
}

} // namespace
} // namespace conclave::data
