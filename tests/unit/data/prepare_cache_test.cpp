// What prepare() runs again, and what it finds: thresholds, names, damage, full disks.

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "data/prepare.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

namespace fs = std::filesystem;
using testing::bytes_filter;
using testing::ByteTokenizer;
using testing::equal_filter;
using testing::FakeSource;
using testing::Shards;
using testing::small_request;
using testing::TemporaryFolder;

std::set<std::string> stages(const fs::path& cache) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(cache))
    if (entry.path().filename() != ".locks") names.insert(entry.path().filename().string());
  return names;
}

/// Names of the stages in `now` that were not in `before`, without their keys.
std::multiset<std::string> made_since(const fs::path& cache, const std::set<std::string>& before) {
  std::multiset<std::string> made;
  for (const std::string& name : stages(cache))
    if (!before.contains(name)) made.insert(name.substr(0, name.find('-')));
  return made;
}

std::string must_prepare(const PrepareRequest& request, PrepareReport& report) {
  const auto store = prepare(request, report);
  EXPECT_TRUE(store.ok()) << store.error().render();
  return store.ok() ? (*store)->digest() : "";
}

TEST(PrepareCache, ASecondRunReadsNothing) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  auto source = std::make_shared<FakeSource>(Shards{testing::some_texts("z", 50)});
  request.domains[1].source = source;
  request.filters = {equal_filter()};
  request.tokenizer = std::make_shared<ByteTokenizer>(true);
  PrepareReport first, second;
  const std::string digest = must_prepare(request, first);
  EXPECT_EQ(source->opened, 1);
  auto fresh = std::make_shared<ByteTokenizer>(true);
  request.tokenizer = fresh;
  request.workers = 1;
  EXPECT_EQ(must_prepare(request, second), digest);
  EXPECT_TRUE(second.cached);
  EXPECT_EQ(source->opened, 1);
  EXPECT_EQ(fresh->trainings, 0);
  EXPECT_FALSE(fresh->needs_training()) << "the tokenizer is left ready";
  ASSERT_EQ(second.counts.size(), first.counts.size());
  EXPECT_EQ(second.counts.back().bytes, first.counts.back().bytes);
}

TEST(PrepareCache, AThresholdRunsAgainFromSelectOn) {
  const TemporaryFolder folder;
  std::atomic<int> annotated = 0;
  PrepareRequest request = small_request(folder.path());
  request.filters = {bytes_filter(30, &annotated)};
  PrepareReport report;
  const std::string digest = must_prepare(request, report);
  const int once = annotated;
  EXPECT_EQ(once, 390);
  const auto before = stages(folder.path());
  request.filters = {bytes_filter(60, &annotated)};
  EXPECT_NE(must_prepare(request, report), digest);
  EXPECT_EQ(annotated, once);
  EXPECT_EQ(made_since(folder.path(), before),
            (std::multiset<std::string>{"corpus", "gated", "gated", "select", "tokens", "tokens"}));
}

TEST(PrepareCache, LengthLimitsTokeniseNothingAgainAndSharesCopyNothing) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  PrepareReport report;
  const std::string digest = must_prepare(request, report);
  auto before = stages(folder.path());
  request.max_tokens = 50;
  must_prepare(request, report);
  EXPECT_EQ(made_since(folder.path(), before), (std::multiset<std::string>{"corpus", "gated", "gated"}));

  request.max_tokens = 64;
  request.domains[0].share = 1;
  before = stages(folder.path());
  EXPECT_EQ(must_prepare(request, report), digest) << "shares are no part of the corpus";
  EXPECT_EQ(made_since(folder.path(), before), (std::multiset<std::string>{"corpus"}));
}

TEST(PrepareCache, AnInterruptedOrDamagedStageIsMadeAgain) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  PrepareReport report;
  const std::string digest = must_prepare(request, report);
  for (const auto& name : stages(folder.path())) {
    const fs::path stage = folder.path() / name;
    if (name.starts_with("corpus")) {
      fs::remove(stage / "manifest.json"); // as if the process had died before the commit
    } else if (name.starts_with("gated")) {
      fs::resize_file(stage / "train.tokens", 10);
    } else if (name.starts_with("read")) {
      std::ofstream(stage / "manifest.json", std::ios::app) << "}";
    } else if (name.starts_with("tokens")) {
      fs::rename(stage, folder.path() / (name + ".partial"));
    }
  }
  EXPECT_EQ(must_prepare(request, report), digest);
  EXPECT_FALSE(report.cached);
}

TEST(PrepareCache, AFlippedBitIsFoundByTheFullCheck) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  PrepareReport report;
  const auto store = prepare(request, report);
  ASSERT_TRUE(store.ok());
  const fs::path directory = (*store)->directory();
  EXPECT_TRUE(verify_token_store(directory).ok());
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename() == "manifest.json" || fs::file_size(entry) == 0) continue;
    const auto flip = [&] {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const char byte = static_cast<char>(file.get() ^ 4);
      file.seekp(0);
      file.put(byte);
    };
    flip();
    const Status status = verify_token_store(directory);
    ASSERT_FALSE(status.ok()) << entry.path();
    EXPECT_EQ(status.error().code, Code::storage);
    EXPECT_EQ(status.error().where, entry.path().string());
    flip();
  }
  EXPECT_TRUE(verify_token_store(directory).ok());
}

TEST(PrepareCache, OpeningWhatIsNoStoreIsAStorageError) {
  const TemporaryFolder folder;
  const auto opened = open_token_store(folder.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::storage);
  EXPECT_NE(opened.error().where.find(folder.path().string()), std::string::npos);
}

TEST(PrepareCache, ACacheThatCannotBeMadeNamesThePath) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "in the way";
  PrepareRequest request = small_request(folder.path() / "file" / "cache");
  PrepareReport report;
  const auto made = prepare(request, report);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::storage);
  EXPECT_NE(made.error().where.find("file"), std::string::npos);
  EXPECT_NE(made.error().fix.find("data.cache"), std::string::npos) << made.error().fix;
}

} // namespace
} // namespace conclave::data
