// What is written is there, digested, whole or not at all; every failure names its path and says what to do.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "io/digest.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 public:
  ~Files() override {
    std::error_code ignored;
    fs::remove_all(root, ignored);
  }

 protected:
  Files() {
    std::string pattern = (fs::temp_directory_path() / "conclave-io-XXXXXX").string();
    root = ::mkdtemp(pattern.data());
  }
  static std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(root)) found.push_back(entry.path().filename().string());
    return found;
  }

  fs::path root;
};

TEST_F(Files, PiecesOfEverySizeAreWrittenInOrderAndDigested) {
  auto writer = FileWriter::create(root / "file");
  ASSERT_TRUE(writer.ok());
  std::string expected;
  constexpr std::size_t chunk = std::size_t{1} << 20;
  std::vector<std::size_t> sizes = {0, 1, chunk - 1, 2, chunk, 3, chunk + 1, 2 * chunk, 5 * chunk + 7};
  for (std::size_t i = 0; i < 1000; ++i) sizes.push_back(i * i % 9001);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::string piece(sizes[i], '\0');
    for (std::size_t at = 0; at < piece.size(); ++at) piece[at] = static_cast<char>(at * 31 + i);
    expected += piece;
    ASSERT_TRUE(writer->write(piece).ok());
    ASSERT_EQ(writer->size(), static_cast<std::int64_t>(expected.size()));
  }
  const auto digest = writer->finish(Pages::drop);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->bytes, static_cast<std::int64_t>(expected.size()));
  EXPECT_EQ(digest->xxh3_128, Digest().bytes(expected.data(), expected.size()).hex());
  EXPECT_TRUE(content(root / "file") == expected);
}

TEST_F(Files, ValuesKeepTheirBytes) {
  auto writer = FileWriter::create(root / "file");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->write_values(std::vector<std::uint16_t>{1, 258}).ok());
  ASSERT_TRUE(writer->write_value(std::uint32_t{3}).ok());
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(content(root / "file"), std::string("\1\0\2\1\3\0\0\0", 8));
}

TEST_F(Files, AFileThatIsThereIsRefusedOrReplacedAndLinksAreNotFollowed) {
  std::ofstream(root / "file") << "something long";
  const auto refused = write_file(root / "file", "x");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::storage);
  EXPECT_EQ(refused.error().where, (root / "file").string());
  EXPECT_EQ(content(root / "file"), "something long");
  auto writer = FileWriter::create(root / "file", Existing::replace);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->write("x").ok());
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(content(root / "file"), "x");
  fs::create_symlink(root / "file", root / "link");
  EXPECT_FALSE(FileWriter::create(root / "link", Existing::replace).ok());
  EXPECT_EQ(content(root / "file"), "x");
}

TEST_F(Files, AFullDiskIsAStorageErrorThatNamesThePath) {
  auto writer = FileWriter::create("/dev/full", Existing::replace);
  if (!writer.ok()) GTEST_SKIP() << "no /dev/full here";
  ASSERT_TRUE(writer->write("text").ok());
  const auto finished = writer->finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code, Code::storage);
  EXPECT_EQ(finished.error().where, "/dev/full");
  EXPECT_NE(finished.error().what.find("No space left on device"), std::string::npos) << finished.error().what;
  EXPECT_NE(finished.error().fix.find("free space"), std::string::npos);
}

TEST_F(Files, AtomicWritesReplaceAndLeaveNothingBeside) {
  ASSERT_TRUE(write_file_atomically(root / "file", "one").ok());
  std::ofstream(root / "file.tmp") << "left by a process that was killed";
  ASSERT_TRUE(write_file_atomically(root / "file", "two").ok());
  EXPECT_EQ(content(root / "file"), "two");
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(Files, AFailedAtomicWriteSaysWhyAndKeepsTheOldContent) {
  fs::create_directories(root / "target" / "inside");
  const Status status = write_file_atomically(root / "target", "text");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().where, (root / "target").string());
  EXPECT_NE(status.error().what.find("Is a directory"), std::string::npos) << status.error().what;
  EXPECT_EQ(names(), std::vector<std::string>{"target"});
  EXPECT_TRUE(fs::exists(root / "target" / "inside"));
  EXPECT_EQ(write_file_atomically(root / "absent" / "file", "text").error().where,
            (root / "absent" / "file.tmp").string());
}

TEST_F(Files, APathWithoutAFolderIsInTheCurrentOne) {
  const fs::path before = fs::current_path();
  fs::current_path(root);
  const Status written = write_file_atomically("file", "text"), made = make_directories("a/b");
  fs::current_path(before);
  EXPECT_TRUE(written.ok()) << written.error().render();
  EXPECT_TRUE(made.ok()) << made.error().render();
  EXPECT_EQ(content(root / "file"), "text");
  EXPECT_TRUE(fs::is_directory(root / "a/b"));
}

TEST_F(Files, FoldersAreMadeWithTheirParents) {
  for (int twice = 0; twice < 2; ++twice) EXPECT_TRUE(make_directories(root / "a" / "b" / "c").ok());
  EXPECT_TRUE(make_directories(root / "d" / "e" / "").ok()); // a trailing slash
  EXPECT_TRUE(fs::is_directory(root / "a" / "b" / "c"));
  EXPECT_TRUE(fs::is_directory(root / "d" / "e"));
}

TEST_F(Files, WhatIsInTheWayOfAFolderIsNamed) {
  std::ofstream(root / "file") << "x";
  fs::create_symlink(root / "nowhere", root / "link");
  for (const char* name : {"file", "link"})
    for (const fs::path& path : {root / name, root / name / "below"}) {
      const Status status = make_directories(path);
      ASSERT_FALSE(status.ok()) << path;
      EXPECT_EQ(status.error().code, Code::storage);
      EXPECT_EQ(status.error().where, (root / name).string());
    }
}

} // namespace
} // namespace conclave
