// ordered_parallel(): order, errors, stopping, and a whole prepare() on several threads.

#include "data/parallel.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

TEST(OrderedParallel, ConsumesInOrder) {
  for (const int workers : {1, 2, 7}) {
    std::vector<std::int64_t> seen;
    const Status status = ordered_parallel<std::int64_t>(
        workers, 500, {},
        [&](std::int64_t i, int worker) -> Result<std::int64_t> {
          EXPECT_LT(worker, workers);
          return i * i;
        },
        [&](std::int64_t i, std::int64_t&& square) -> Status {
          EXPECT_EQ(square, i * i);
          seen.push_back(i);
          return {};
        });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(seen.size(), 500u);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  }
}

TEST(OrderedParallel, TheFirstErrorInOrderWins) {
  for (const int workers : {1, 4}) {
    const Status status = ordered_parallel<int>(
        workers, 100, {},
        [](std::int64_t i, int) -> Result<int> {
          if (i == 30) throw std::runtime_error("thrown at 30");
          if (i == 31) return invalid("31");
          return 0;
        },
        [](std::int64_t, int&&) -> Status { return {}; });
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().what, "thrown at 30");
  }
}

TEST(OrderedParallel, StopsInTheMiddle) {
  std::stop_source stop;
  const Status status = ordered_parallel<int>(
      3, 1'000'000, stop.get_token(), [](std::int64_t, int) -> Result<int> { return 1; },
      [&](std::int64_t i, int&&) -> Status {
        if (i == 100) stop.request_stop();
        return {};
      });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::stopped);
}

TEST(OrderedParallel, NothingToDo) {
  EXPECT_TRUE(ordered_parallel<int>(
                  4, 0, {}, [](std::int64_t, int) -> Result<int> { return 1; },
                  [](std::int64_t, int&&) -> Status { return {}; })
                  .ok());
}

TEST(PrepareThreads, AWholePreparation) {
  const testing::TemporaryFolder folder;
  PrepareRequest request = testing::small_request(folder.path());
  request.domains.push_back(testing::domain("more", 2,
                                            std::make_shared<testing::FakeSource>(testing::Shards{
                                                testing::some_texts("x", 5000), testing::some_texts("y", 5000)})));
  request.filters = {testing::bytes_filter(30), testing::equal_filter()};
  request.workers = 4;
  int calls = 0;
  request.progress = [&](const char*, std::int64_t, std::int64_t, const char*) { ++calls; };
  PrepareReport report;
  const auto store = prepare(request, report);
  ASSERT_TRUE(store.ok()) << store.error().render();
  EXPECT_GT(calls, 0);
}

} // namespace
} // namespace conclave::data
