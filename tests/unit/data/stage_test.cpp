// Stage folders: one maker at a time, a full disk, and the manifest's own digest.

#include "data/stage.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

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

TEST(FileWriter, AFullDiskIsAStorageErrorThatNamesThePath) {
  auto writer = FileWriter::create("/dev/full");
  if (!writer.ok()) GTEST_SKIP() << "no /dev/full here";
  ASSERT_TRUE(writer->append("text", 4).ok());
  const auto finished = writer->finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code, Code::storage);
  EXPECT_EQ(finished.error().where, "/dev/full");
  EXPECT_NE(finished.error().fix.find("free space"), std::string::npos);
}

TEST(FileWriter, WhatIsWrittenIsReadAndDigested) {
  const TemporaryFolder folder;
  auto writer = FileWriter::create(folder.path() / "file");
  ASSERT_TRUE(writer.ok());
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece(static_cast<std::size_t>(i * i % 9001), static_cast<char>('a' + i % 26));
    expected += piece;
    ASSERT_TRUE(writer->append(piece.data(), piece.size()).ok());
  }
  const auto entry = writer->finish();
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->bytes, expected.size());
  EXPECT_EQ(entry->digest, Digest().bytes(expected.data(), expected.size()).hex());
  EXPECT_EQ(*read_file(folder.path() / "file"), expected);
}

} // namespace
} // namespace conclave::data
