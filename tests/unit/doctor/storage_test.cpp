// Storage: slow, full, damaged and good ones, and real files.

#include "doctor/storage.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "conclave/testkit.hpp"
#include "io/file_handle.hpp"
#include "unit/doctor/lines.hpp"

namespace conclave::doctor {
namespace {

/// In memory; it sleeps and fails as told.
class FakeFile final : public ProbeFile {
 public:
  std::chrono::milliseconds each_append{0}, each_sync{0};
  std::size_t room = std::size_t{1} << 40;
  bool damages = false, sync_fails = false;
  std::vector<std::byte> bytes;

  Status append(std::span<const std::byte> data) override {
    std::this_thread::sleep_for(each_append);
    if (bytes.size() + data.size() > room) return file_error("/fake", "write", ENOSPC);
    bytes.insert(bytes.end(), data.begin(), data.end());
    return {};
  }
  Status sync() override {
    std::this_thread::sleep_for(each_sync);
    return sync_fails ? Status(file_error("/fake", "sync", EIO)) : Status{};
  }
  Status read(std::int64_t offset, std::span<std::byte> out) override {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    if (damages) out[12345] ^= std::byte{1};
    return {};
  }
};

constexpr StorageLimits small{64 << 20, 10};

Checks judged_storage(StorageFacts facts, const Expectation& expected = {}, std::int64_t needed = 0) {
  facts.free = 1'000'000'000'000;
  facts.size = 2'000'000'000'000;
  return judge_storage(facts, "/runs", needed, expected);
}

TEST(Storage, AFastOne) {
  FakeFile file;
  const StorageFacts facts = measure_storage(file, small);
  ASSERT_FALSE(facts.error);
  EXPECT_EQ(facts.written, small.bytes);
  EXPECT_GT(facts.write_rate, 0);
  EXPECT_GT(facts.read_rate, 0);
  EXPECT_FALSE(facts.damaged);
  EXPECT_GT(static_cast<std::int64_t>(file.bytes.size()), facts.written); // and the small ones
}

TEST(Storage, ASlowOneIsGivenUpEarlyAndNamed) {
  FakeFile file;
  file.each_append = std::chrono::milliseconds(200); // for each 16 MiB: 84 MB/s at most
  file.each_sync = std::chrono::milliseconds(150);
  const StorageFacts facts = measure_storage(file, {std::int64_t{1} << 30, 0.5});
  ASSERT_FALSE(facts.error);
  EXPECT_LT(facts.written, 64 << 20);
  EXPECT_LT(facts.write_rate, 50e6);
  EXPECT_GT(facts.sync_seconds, 0.35);
  const Checks checks = judged_storage(facts);
  EXPECT_EQ(line(checks, "write and sync").verdict, Verdict::warn);
  EXPECT_EQ(line(checks, "sync").verdict, Verdict::warn);
  EXPECT_EQ(line(checks, "read back").verdict, Verdict::ok);
  Expectation expected;
  expected.storage_write_MBps = 1000;
  EXPECT_EQ(line(judged_storage(facts, expected), "write and sync").verdict, Verdict::fail);
  EXPECT_TRUE(line(judged_storage(facts, expected), "write and sync").advice.starts_with("1000 MB/s wanted: "));
}

TEST(Storage, AFullOne) {
  FakeFile file;
  file.room = 40 << 20;
  const StorageFacts facts = measure_storage(file, small);
  ASSERT_TRUE(facts.error);
  const Check check = line(judged_storage(facts), "storage");
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(check.figure, "/fake: cannot write: No space left on device");
  EXPECT_NE(check.advice, "");
}

TEST(Storage, OneThatCannotSync) {
  FakeFile file;
  file.sync_fails = true;
  const StorageFacts facts = measure_storage(file, small);
  ASSERT_TRUE(facts.error);
  EXPECT_EQ(line(judged_storage(facts), "storage").figure, "/fake: cannot sync: Input/output error");
}

TEST(Storage, OneThatGivesBackOtherBytes) {
  FakeFile file;
  file.damages = true;
  const StorageFacts facts = measure_storage(file, small);
  ASSERT_FALSE(facts.error);
  EXPECT_TRUE(facts.damaged);
  EXPECT_EQ(line(judged_storage(facts), "storage").verdict, Verdict::fail);
}

TEST(Storage, SpaceThatIsWanted) {
  FakeFile file;
  const StorageFacts facts = measure_storage(file, small);
  EXPECT_EQ(line(judged_storage(facts), "space").verdict, Verdict::ok);
  EXPECT_EQ(line(judged_storage(facts, {}, 1'000'000'000'000), "space").verdict, Verdict::ok);
  EXPECT_EQ(line(judged_storage(facts, {}, 1'000'000'000'001), "space").verdict, Verdict::fail);
  Expectation expected;
  expected.storage_free = 2'000'000'000'000;
  const Check space = line(judged_storage(facts, expected), "space");
  EXPECT_EQ(space.verdict, Verdict::fail);
  EXPECT_EQ(space.figure, "1.00 TB free of 2.00 TB in /runs");
  EXPECT_TRUE(space.advice.starts_with("2.00 TB wanted: "));
}

TEST(Storage, ARealFolderIsLeftAsItWas) {
  const testkit::TemporaryDir temporary;
  const std::filesystem::path& folder = temporary.path();
  const StorageFacts facts = read_storage(folder, {32 << 20, 10});
  ASSERT_FALSE(facts.error) << facts.error->render();
  EXPECT_EQ(facts.written, 32 << 20);
  EXPECT_FALSE(facts.damaged);
  EXPECT_GT(facts.size, facts.free);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(Storage, AFolderThatIsNotThere) {
  const StorageFacts facts = read_storage("/no/such/folder", small);
  ASSERT_TRUE(facts.error);
  EXPECT_NE(line(judge_storage(facts, "/no/such/folder", 0, {}), "storage").figure.find("No such file"),
            std::string::npos);
}

TEST(Storage, ALimitOfTheSizeOfFilesIsAnError) {
  const testkit::TemporaryDir temporary;
  const std::filesystem::path& folder = temporary.path();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit few{20 << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &few), 0);
  const StorageFacts facts = read_storage(folder, small);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(facts.error);
  EXPECT_NE(facts.error->what.find("File too large"), std::string::npos) << facts.error->render();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

} // namespace
} // namespace conclave::doctor
