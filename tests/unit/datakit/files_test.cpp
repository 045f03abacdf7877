// Tests of datakit's file listing and shards.

#include "conclave/datakit/files.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "conclave/datakit/shards.hpp"
#include "conclave/testkit.hpp"

namespace conclave::datakit {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::string>;

class ListFiles : public testing::Test {
 protected:
  ListFiles() {
    for (const char* name :
         {"a.txt", "b.md", "sub/c.txt", "sub/deep/d.txt", "sub/deep/e[1].txt", ".hidden/f.txt", "sub/.g.txt"})
      dir_.write(name, std::string("content of ") + name);
  }
  [[nodiscard]] Ids ids(const std::vector<std::string>& patterns, std::vector<std::string> extensions = {},
                        const std::string& root = {}) const {
    FileSelection selection;
    for (const auto& pattern : patterns) selection.paths.push_back({(dir_.path() / pattern).string()});
    selection.extensions = std::move(extensions);
    if (!root.empty()) selection.root.value = (dir_.path() / root).string();
    const auto files = list_files(selection);
    if (!files.ok()) return {"error: " + files.error().render()};
    Ids ids;
    for (const auto& file : *files) ids.push_back(file.id);
    return ids;
  }
  testkit::TemporaryDir dir_;
};

TEST_F(ListFiles, Patterns) {
  EXPECT_EQ(ids({"*.txt"}), (Ids{"a.txt"}));
  EXPECT_EQ(ids({"**/*.txt"}), (Ids{"a.txt", "sub/c.txt", "sub/deep/d.txt", "sub/deep/e[1].txt"}));
  EXPECT_EQ(ids({"sub/**"}), (Ids{"c.txt", "deep/d.txt", "deep/e[1].txt"}));
  EXPECT_EQ(ids({"sub/*/[d-e].txt"}), (Ids{"deep/d.txt"}));
  EXPECT_EQ(ids({"?.md"}), (Ids{"b.md"}));
  EXPECT_EQ(ids({"s*/**/d*"}),
            (Ids{"sub/deep/d.txt", "sub/deep/e[1].txt"})); // a folder that a pattern names is taken with its files
}

TEST_F(ListFiles, FoldersFilesAndExtensions) {
  EXPECT_EQ(ids({""}), (Ids{"a.txt", "b.md", "sub/c.txt", "sub/deep/d.txt", "sub/deep/e[1].txt"}));
  EXPECT_EQ(ids({""}, {".md"}), (Ids{"b.md"}));
  EXPECT_EQ(ids({"sub/c.txt"}, {".md"}), (Ids{"c.txt"})); // named in full
  EXPECT_EQ(ids({"sub/c.txt"}, {}, "."), (Ids{"sub/c.txt"}));
}

TEST_F(ListFiles, SeveralPatternsShareARootAndAFileOnce) {
  EXPECT_EQ(ids({"sub/deep/*.txt", "sub/c.txt", "sub/**/d.txt"}), (Ids{"c.txt", "deep/d.txt", "deep/e[1].txt"}));
}

TEST_F(ListFiles, NoMatchIsAnErrorThatNamesThePattern) {
  const auto found = ids({"*.txt", "*.pdf"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("no file matches " + (dir_.path() / "*.pdf").string()), std::string::npos) << found[0];
}

TEST_F(ListFiles, DoesNotFollowLinkedFoldersIntoACircle) {
  fs::create_directory_symlink(dir_.path(), dir_.path() / "sub" / "circle");
  EXPECT_EQ(ids({"**/d.txt"}), (Ids{"sub/deep/d.txt"}));
}

TEST_F(ListFiles, DigestIsOfTheContentAndNotOfTheTime) {
  FileSelection selection;
  selection.paths = {{(dir_.path() / "a.txt").string()}};
  const std::string before = list_files(selection).value()[0].digest;
  fs::last_write_time(dir_.path() / "a.txt", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(list_files(selection).value()[0].digest, before);
  dir_.write("a.txt", "content of A.txt"); // the same size
  EXPECT_NE(list_files(selection).value()[0].digest, before);
}

TEST(Shards, GroupsSmallFilesAndLeavesBigOnesAlone) {
  std::vector<FileEntry> files;
  for (const std::int64_t bytes : {3, 3, 3, 20, 1, 1}) {
    const std::string name = "f" + std::to_string(files.size());
    files.push_back({"/x/" + name, name, "digest" + name, bytes});
  }
  const auto shards = group_files(files, 8);
  ASSERT_EQ(shards.size(), 3u);
  EXPECT_EQ(shards[0].info.id, "f0+2");
  EXPECT_EQ(shards[0].info.bytes, 9);
  EXPECT_EQ(shards[1].info.id, "f3");
  EXPECT_EQ(shards[2].info.id, "f4+1");
  files[1].digest = "changed";
  const auto changed = group_files(files, 8);
  EXPECT_NE(changed[0].info.digest, shards[0].info.digest);
  EXPECT_EQ(changed[1].info.digest, shards[1].info.digest);
}

TEST(Shards, CutsAreAtSeparatorsAndCoverTheFile) {
  const testkit::TemporaryDir dir;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::string(static_cast<std::size_t>(i % 37), 'x') + "\n";
  const FileEntry file{dir.write("a", text).string(), "a", "d", static_cast<std::int64_t>(text.size())};
  const auto cuts = cut_positions(file, 1000, "\n").value();
  ASSERT_GT(cuts.size(), 10u);
  EXPECT_EQ(cuts.front(), 0);
  EXPECT_EQ(cuts.back(), file.bytes);
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    EXPECT_LT(cuts[i - 1], cuts[i]);
    EXPECT_EQ(text[static_cast<std::size_t>(cuts[i]) - 1], '\n');
  }
  const auto shards = cut_file(file, cuts);
  std::set<std::string> ids, digests;
  for (const auto& shard : shards) {
    ids.insert(shard.info.id);
    digests.insert(shard.info.digest);
  }
  EXPECT_EQ(ids.size(), shards.size());
  EXPECT_EQ(digests.size(), shards.size());
  EXPECT_TRUE(cut_file({"p", "p", "d", 0}, {0, 0}).empty());
}

TEST(Shards, ATableFindsItsShardsAndRefusesOthers) {
  int listed = 0;
  FileShards table([&listed]() -> Result<std::vector<FileShard>> {
    ++listed;
    return group_files({{"/x/a", "a", "d", 1}}, 8);
  });
  ASSERT_TRUE(table.find("a").ok());
  EXPECT_EQ((*table.find("a"))->files[0].path, "/x/a");
  EXPECT_FALSE(table.find("b").ok());
  EXPECT_EQ(table.infos()->size(), 1u);
  EXPECT_EQ(listed, 1);
}

} // namespace
} // namespace conclave::datakit
