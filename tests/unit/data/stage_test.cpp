// Stage folders: one maker at a time, and the manifest's own digest.

#include "data/stage.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>
#include <vector>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::TemporaryFolder;

TEST(Stage, OneMakesItAndTheOtherFindsIt) {
  const TemporaryFolder folder;
  auto first = Stage::open(folder.path(), "test", "key", {});
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(first->complete());
  bool found_complete = false;
  std::thread other([&] {
    auto second = Stage::open(folder.path(), "test", "key", {}); // waits for the lock
    found_complete = second.ok() && second->complete() && second->facts().at("answer") == 42;
  });
  EXPECT_TRUE(first->commit({}, {{"answer", 42}}).ok());
  other.join();
  EXPECT_TRUE(found_complete);
}

TEST(Stage, WaitingStopsWhenAsked) {
  const TemporaryFolder folder;
  const auto first = Stage::open(folder.path(), "test", "key", {});
  ASSERT_TRUE(first.ok());
  std::stop_source stop;
  stop.request_stop();
  const auto second = Stage::open(folder.path(), "test", "key", stop.get_token());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::stopped);
}

TEST(Stage, WaitingIsToldOnceWithTheFolderAndStopsWhenAsked) {
  const TemporaryFolder folder;
  const auto first = Stage::open(folder.path(), "test", "key", {});
  ASSERT_TRUE(first.ok());
  std::stop_source stop;
  std::vector<std::string> told;
  // The one that waits is stopped from where it says so, so the test waits as long as it must and no longer.
  const auto second = Stage::open(folder.path(), "test", "key", stop.get_token(), [&](const std::string& text) {
    told.push_back(text);
    stop.request_stop();
  });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::stopped);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("another process"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find((folder.path() / "test-key").string()), std::string::npos) << told[0];
}

TEST(Stage, ManifestWithAChangedWordIsRefused) {
  const TemporaryFolder folder;
  auto stage = Stage::open(folder.path(), "test", "key", {});
  ASSERT_TRUE(stage.ok());
  ASSERT_TRUE(stage->commit({}, {{"answer", 42}}).ok());
  const auto path = stage->directory() / "manifest.json";
  std::string text = *read_file(path);
  text.replace(text.find("42"), 2, "43");
  std::ofstream(path) << text;
  const auto manifest = read_stage_manifest(stage->directory());
  ASSERT_FALSE(manifest.ok());
  EXPECT_EQ(manifest.error().code, Code::storage);
}

} // namespace
} // namespace conclave::data
