// Stages in units: shared out to tasks, kept through interruptions, the same bytes for any number of tasks.

#include "data/units.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "data/drop_sample.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

namespace fs = std::filesystem;
using testing::bytes_filter;
using testing::ByteTokenizer;
using testing::domain;
using testing::equal_filter;
using testing::FakeSource;
using testing::Shards;
using testing::small_request;
using testing::some_texts;
using testing::TemporaryFolder;

/// Each stage's files by name, as their manifests know them.
std::map<std::string, std::string> content(const fs::path& cache) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::directory_iterator(cache)) {
    if (entry.path().filename() == ".locks") continue;
    const std::string stage = entry.path().filename().string();
    EXPECT_TRUE(verify_stage(entry.path()).ok()) << stage;
    const auto manifest = read_stage_manifest(entry.path());
    if (!manifest.ok()) {
      ADD_FAILURE() << manifest.error().render();
      continue;
    }
    all[stage] = manifest->facts.dump();
    for (const FileEntry& file : manifest->files) all[stage + "/" + file.name] = file.digest;
  }
  return all;
}

/// Enough documents for several units of every stage, two equal domains and a trained tokenizer.
PrepareRequest large_request(const fs::path& cache) {
  static const Shards shards = {some_texts("a", 60000), some_texts("b", 50000), some_texts("a", 20000)};
  PrepareRequest request = small_request(cache);
  request.domains.push_back(domain("large", 1, std::make_shared<FakeSource>(shards)));
  request.domains.push_back(domain("twin", 1, std::make_shared<FakeSource>(shards)));
  request.filters = {bytes_filter(40), equal_filter(/*across=*/false)};
  request.tokenizer = std::make_shared<ByteTokenizer>(/*trained=*/true);
  request.tokenizer_sample_bytes = 1000;
  return request;
}

const std::map<std::string, std::string>& content_of_one() {
  static const std::map<std::string, std::string> of_one = [] {
    const TemporaryFolder folder;
    PrepareReport report;
    const auto store = prepare(large_request(folder.path()), report);
    EXPECT_TRUE(store.ok()) << store.error().render();
    return content(folder.path());
  }();
  return of_one;
}

TEST(Units, EveryNumberOfTasksMakesTheSameBytesAndNothingTwice) {
  ASSERT_GT(content_of_one().size(), 20u);
  for (const int count : {2, 3, 5}) {
    const TemporaryFolder folder;
    std::vector<PrepareRequest> requests;
    std::atomic<int> annotated = 0;
    for (int t = 0; t < count; ++t) {
      PrepareRequest& request = requests.emplace_back(large_request(folder.path()));
      request.filters[0] = bytes_filter(40, &annotated);
      request.task = {t, count};
      request.workers = 1 + t % 2;
    }
    std::vector<std::thread> tasks;
    for (const PrepareRequest& request : requests)
      tasks.emplace_back([&request] {
        PrepareReport report;
        const auto store = prepare(request, report);
        EXPECT_TRUE(store.ok()) << store.error().render();
        EXPECT_FALSE(request.tokenizer->needs_training());
      });
    for (std::thread& task : tasks) task.join();
    EXPECT_EQ(content(folder.path()), content_of_one()) << count << " tasks";
    EXPECT_EQ(annotated, 390 + 130000) << "the twin's text is that of the large domain";
    int opened = 0, trained = 0;
    for (const PrepareRequest& request : requests) {
      for (const DomainInput& input : request.domains) opened += static_cast<FakeSource&>(*input.source).opened;
      trained += static_cast<ByteTokenizer&>(*request.tokenizer).trainings;
    }
    EXPECT_EQ(opened, 9);
    EXPECT_EQ(trained, 1);
  }
}

TEST(Units, OneOfTheTasksSuffices) {
  const TemporaryFolder folder;
  PrepareRequest request = large_request(folder.path());
  request.task = {1, 3};
  PrepareReport report;
  ASSERT_TRUE(prepare(request, report).ok());
  EXPECT_EQ(content(folder.path()), content_of_one());
}

/// The folder in which the stage of `name` that has a unit `unit` is made; of several the first.
fs::path partial_with(const fs::path& cache, const std::string& name, const std::string& unit) {
  for (const auto& entry : fs::directory_iterator(cache))
    if (entry.path().filename().string().starts_with(name) && fs::is_symlink(fs::symlink_status(entry.path() / unit)))
      return entry.path();
  for (const auto& entry : fs::directory_iterator(cache))
    if (entry.path().filename().string().starts_with(name) && fs::exists(entry.path() / unit)) return entry.path();
  return {};
}

/// Keeps what bytes_filter(40) keeps, and asks for a stop when it has seen so many documents.
class StoppingFilter final : public Filter {
 public:
  StoppingFilter(std::stop_source stop, std::size_t after) : stop_(std::move(stop)), after_(after) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return filter_.columns(); }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    filter_.annotate(documents, writer);
    seen_ += documents.size();
    if (seen_ >= after_) stop_.request_stop();
  }
  [[nodiscard]] Verdict select(const ColumnRow& row) const override { return filter_.select(row); }

 private:
  testing::BytesFilter filter_{40, nullptr};
  std::stop_source stop_;
  std::size_t after_, seen_ = 0;
};

/// Prepares until a part of annotate is made: what a killed process leaves, but for its claims.
void interrupt_annotate(PrepareRequest request) {
  std::stop_source stop;
  request.stop = stop.get_token();
  request.workers = 1;
  request.filters[0].make = [&]() -> Result<std::shared_ptr<Filter>> {
    return std::shared_ptr<Filter>(std::make_shared<StoppingFilter>(stop, 390 + 65536 + 5000));
  };
  PrepareReport report;
  const auto store = prepare(request, report);
  EXPECT_TRUE(!store.ok() && store.error().code == Code::stopped);
}

TEST(Units, ATaskWaitsForWhatAnotherClaimedAndThatOneTakesItBack) {
  const TemporaryFolder folder;
  PrepareRequest request = large_request(folder.path());
  request.task = {0, 3};
  interrupt_annotate(request);
  // Task 1 was killed while it worked on a unit.
  const fs::path partial = partial_with(folder.path(), "annotate", "unit-00000");
  ASSERT_FALSE(partial.empty());
  fs::remove_all(partial / "unit-00000");
  fs::create_symlink("task-1-of-3.node7.4711", partial / "unit-00000.claim");
  fs::create_directories(partial / "unit-00000.task-1-of-3.node7.4711/column-0");

  std::stop_source stop;
  std::string told;
  request.stop = stop.get_token();
  request.notice = [&](const std::string& text) {
    told = text;
    stop.request_stop();
  };
  PrepareReport report;
  EXPECT_FALSE(prepare(request, report).ok());
  EXPECT_NE(told.find("waiting for other tasks to finish " + partial.string().substr(0, partial.string().size() - 8) +
                      ": unit-00000 of task-1-of-3.node7.4711"),
            std::string::npos)
      << told;
  const auto stages = prepare_status(request);
  ASSERT_TRUE(stages.ok());
  std::vector<std::string> claims;
  for (const StageStatus& stage : *stages) claims.insert(claims.end(), stage.claims.begin(), stage.claims.end());
  EXPECT_EQ(claims, (std::vector<std::string>{"unit-00000 of task-1-of-3.node7.4711"}));

  request = large_request(folder.path());
  request.task = {1, 3};
  ASSERT_TRUE(prepare(request, report).ok());
  EXPECT_EQ(content(folder.path()), content_of_one());
}

TEST(Units, WhatTasksLeftServesAProcessAloneAndDamageIsMadeAgain) {
  const TemporaryFolder folder;
  PrepareRequest request = large_request(folder.path());
  request.task = {1, 2};
  interrupt_annotate(request);
  const fs::path partial = partial_with(folder.path(), "annotate", "unit-00000");
  ASSERT_FALSE(partial.empty());
  fs::resize_file(partial / "unit-00000/manifest.json", 10);
  fs::create_symlink("task-0-of-7.elsewhere.1", partial / "unit-00001.claim");
  fs::create_directories(partial / "unit-00001.task-0-of-7.elsewhere.1/column-0");
  PrepareReport report;
  ASSERT_TRUE(prepare(large_request(folder.path()), report).ok());
  EXPECT_EQ(content(folder.path()), content_of_one());
}

TEST(Units, AUnitWithAFlippedBitIsMadeAgain) {
  const TemporaryFolder folder;
  interrupt_annotate(large_request(folder.path()));
  bool flipped = false;
  for (const auto& stage : fs::recursive_directory_iterator(folder.path())) {
    if (stage.path().filename() != "column-0" || fs::file_size(stage) < 50'000 || flipped) continue;
    std::fstream file(stage.path(), std::ios::in | std::ios::out | std::ios::binary);
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(0);
    file.put(byte);
    flipped = true;
  }
  ASSERT_TRUE(flipped);
  PrepareReport report;
  ASSERT_TRUE(prepare(large_request(folder.path()), report).ok());
  EXPECT_EQ(content(folder.path()), content_of_one());
}

TEST(Units, AnInterruptedProcessKeepsTheUnitsThatItFinished) {
  const TemporaryFolder folder;
  interrupt_annotate(large_request(folder.path()));
  PrepareRequest request = large_request(folder.path());
  std::atomic<int> annotated = 0;
  request.filters[0] = bytes_filter(40, &annotated);
  PrepareReport report;
  ASSERT_TRUE(prepare(request, report).ok());
  EXPECT_LT(annotated, 130000 - 40000) << "most of the 70000 documents that were done are in finished units";
  EXPECT_GT(annotated, 130000 - 70926);
  EXPECT_EQ(content(folder.path()), content_of_one());
}

TEST(Units, TheStatusEndsAtTheFirstStageThatIsNotComplete) {
  const TemporaryFolder folder;
  PrepareRequest request = large_request(folder.path());
  auto stages = prepare_status(request);
  ASSERT_TRUE(stages.ok()) << stages.error().render();
  EXPECT_TRUE(fs::is_empty(folder.path())) << "to look makes nothing";
  ASSERT_EQ(stages->size(), 4u); // read of web, code and large, whose twin it shares; corpus
  EXPECT_EQ(stages->at(2).stage, "read");
  EXPECT_EQ(stages->at(2).subject, "large");
  EXPECT_EQ(stages->at(2).units, 3u);
  EXPECT_EQ(stages->at(2).units_done, 0u);
  EXPECT_EQ(stages->at(3).stage, "corpus");

  fs::create_directories(stages->at(2).folder.string() + ".partial/unit-00001");
  stages = prepare_status(request);
  ASSERT_TRUE(stages.ok()) << stages.error().render();
  EXPECT_EQ(stages->at(2).units_done, 1u);
  EXPECT_FALSE(stages->at(2).complete);

  PrepareReport report;
  ASSERT_TRUE(prepare(request, report).ok());
  request.tokenizer = std::make_shared<ByteTokenizer>(/*trained=*/true);
  stages = prepare_status(request);
  ASSERT_TRUE(stages.ok()) << stages.error().render();
  std::map<std::string, int> count;
  for (const StageStatus& stage : *stages) {
    EXPECT_TRUE(stage.complete) << stage.stage << " " << stage.subject;
    ++count[stage.stage];
  }
  EXPECT_EQ(
      count,
      (std::map<std::string, int>{
          {"read", 3}, {"annotate", 6}, {"select", 1}, {"tokenizer", 1}, {"tokens", 3}, {"gated", 3}, {"corpus", 1}}));
}

TEST(Units, TheCutDependsOnTheDataAlone) {
  const auto cut = [](std::uint64_t bytes, std::size_t count) {
    return cut_into_units(count, 1 << 20, [=](std::size_t) { return bytes; }).size();
  };
  EXPECT_EQ(cut(std::uint64_t{1} << 16, 32), 2u);         // of 1 MiB
  EXPECT_EQ(cut(std::uint64_t{1} << 20, 128), 32u);       // of 4 MiB
  EXPECT_EQ(cut(std::uint64_t{1} << 20, 16 * 100), 100u); // of 16 MiB
  EXPECT_EQ(cut(std::uint64_t{1} << 30, 100), 100u);
  EXPECT_LE(cut(std::uint64_t{1} << 40, 1 << 20), 8192u) << "a folder never holds more";
}

TEST(DropSample, TakesTheSameFewInAnyOrder) {
  DropSample forward, backward, merged;
  for (std::uint64_t i = 0; i < 100; ++i) forward.offer(i * 77, i);
  for (std::uint64_t i = 100; i-- > 0;) backward.offer(i * 77, i);
  DropSample half;
  for (std::uint64_t i = 0; i < 100; ++i) (i % 3 == 0 ? half : merged).offer(i * 77, i);
  merged.merge(half);
  EXPECT_EQ(forward.documents().size(), DropSample::most);
  EXPECT_EQ(forward.documents(), backward.documents());
  EXPECT_EQ(forward.documents(), merged.documents());
}

} // namespace
} // namespace conclave::data
