// Tests of source/code.

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "languages.hpp"
#include "tree.hpp"

namespace conclave::code {
namespace {

Result<std::shared_ptr<Source>> make(testkit::FakeHost& host, const Value& with) {
  return testkit::make<Source>(testkit::this_library("source/code"), host, with);
}

std::vector<RawDocument> read(const Value& with) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, with);
  if (!source.ok()) return {{"error", source.error().render()}};
  auto documents = testkit::read_all(**source);
  if (!documents.ok()) return {{"error", documents.error().render()}};
  return std::move(documents).value();
}

TEST(LanguageOf, WholeNamesThenExtensions) {
  EXPECT_EQ(language_of("main.go"), "go");
  EXPECT_EQ(language_of("a.tar.py"), "python");
  EXPECT_EQ(language_of("CMakeLists.txt"), "cmake");
  EXPECT_EQ(language_of("Makefile"), "make");
  EXPECT_EQ(language_of("x.C"), "cpp");
  EXPECT_EQ(language_of("x.c"), "c");
  EXPECT_EQ(language_of("notes.txt"), "");
  EXPECT_EQ(language_of("README"), "");
  EXPECT_EQ(language_of("x."), "");
}

TEST(CodeSource, FilesOfKnownLanguagesWithTheirTags) {
  const testkit::TemporaryDir dir;
  dir.write("b/main.go", "package main\n");
  dir.write("a.py", "print()\n");
  dir.write("b.py", "pass\n"); // after everything in b
  dir.write("b/notes.txt", "no code");
  dir.write("b/vendor/x.go", "vendored");
  dir.write("b/app.min.js", "minified");
  dir.write(".git/hooks/x.py", "hidden");
  dir.write("empty.c", "");
  dir.write("blank.c", " \n");
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}})),
            (std::vector<RawDocument>{{"a.py", "print()\n", "", "code:python"},
                                      {"b/main.go", "package main\n", "", "code:go"},
                                      {"b.py", "pass\n", "", "code:python"}}));
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}, {"languages", testkit::list({"go"})}})).size(), 1u);
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}, {"exclude", testkit::list({"b*"})}})).size(), 1u);
}

TEST(CodeSource, SeveralFoldersShareNoId) {
  const testkit::TemporaryDir dir;
  dir.write("one/a.c", "1");
  dir.write("two/a.c", "2");
  EXPECT_EQ(read(testkit::map({{"paths", testkit::list({dir.path() / "one", dir.path() / "two/"})}})),
            (std::vector<RawDocument>{{"one/a.c", "1", "", "code:c"}, {"two/a.c", "2", "", "code:c"}}));
  const auto overlap = read(testkit::map({{"paths", testkit::list({dir.path(), dir.path() / "two"})}}));
  EXPECT_NE(overlap[0].text.find("overlap"), std::string::npos) << overlap[0].text;
}

TEST(CodeSource, WhatIsNoTextIsCounted) {
  const testkit::TemporaryDir dir;
  dir.write("a.c", std::string("x\0y", 3));
  dir.write("b.c", std::string(200, 'x'));
  dir.write("c.c", "int x;");
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, testkit::map({{"paths", dir.path()}, {"max_document", 100}}));
  auto reader = (*source)->open((*source)->shards()->front());
  RawDocument document;
  ASSERT_TRUE((*reader)->next(document).value());
  EXPECT_EQ(document.id, "c.c");
  EXPECT_FALSE((*reader)->next(document).value());
  EXPECT_EQ((*reader)->skipped(), 2);
}

TEST(CodeSource, MistakesAreNamed) {
  const testkit::TemporaryDir dir;
  dir.write("a.txt", "x");
  const auto error = [](const Value& with) { return read(with)[0].text; };
  EXPECT_NE(error(testkit::map({{"paths", dir.path()}})).find("no file of a known language"), std::string::npos);
  EXPECT_NE(error(testkit::map({{"paths", "/nowhere"}})).find("/nowhere"), std::string::npos);
  EXPECT_NE(error(testkit::map({{"paths", dir.path()}, {"languages", testkit::list({"Go"})}})).find("Go"),
            std::string::npos);
}

/// Files with names that sort badly (a folder beside a file of the same beginning), and the shards' borders among them.
TEST(CodeSource, ManyTinyFilesInSeveralShardsAreEachReadOnce) {
  const testkit::TemporaryDir dir;
  std::mt19937 random(4);
  std::set<std::string> written;
  while (written.size() < 9000) {
    std::string path;
    for (int level = static_cast<int>(random() % 4); level > 0; --level) {
      path += static_cast<char>('a' + random() % 3);
      path += random() % 2 ? "-x/" : "/";
    }
    path += std::string(1, static_cast<char>('a' + random() % 3)) + (random() % 2 ? "-" : "") +
            std::to_string(random() % 2000) + ".c";
    if (written.insert(path).second) dir.write(path, path);
  }
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, testkit::map({{"paths", dir.path()}}));
  const auto shards = (*source)->shards();
  EXPECT_EQ(shards->size(), 3u); // 4096 files each
  std::set<std::string> found;
  const auto documents = testkit::read_all(**source);
  ASSERT_TRUE(documents.ok()) << documents.error().render();
  for (const RawDocument& document : *documents) {
    EXPECT_TRUE(found.insert(document.id).second) << document.id;
    EXPECT_EQ(document.text, document.id);
  }
  EXPECT_EQ(found, written);

  auto again = make(host, testkit::map({{"paths", dir.path()}}));
  EXPECT_EQ((*again)->shards()->at(1).digest, shards->at(1).digest);
  dir.write(shards->at(1).id.substr(0, shards->at(1).id.find('+')), "changed");
  auto changed = make(host, testkit::map({{"paths", dir.path()}}));
  EXPECT_NE((*changed)->shards()->at(1).digest, shards->at(1).digest);
  EXPECT_EQ((*changed)->shards()->at(2).digest, shards->at(2).digest);
}

TEST(TreeWalk, BeginsAnywhere) {
  const testkit::TemporaryDir dir;
  for (const char* path : {"a/b/1", "a/b-/1", "a/b.x", "a/c", "a.x", "b/1", "b/2/1", "b/2-", "c"}) dir.write(path, "x");
  const std::string folder = dir.path().string();
  const TreeRule rule{[](const std::string&) { return true; }, [](const std::string&) { return true; }};
  const auto walked = [&](const std::string& from) {
    std::vector<std::string> paths;
    TreeWalk walk(folder, rule, from);
    for (TreeFile file; walk.next(file).value();) paths.push_back(file.path);
    return paths;
  };
  const auto all = walked("");
  EXPECT_EQ(all, (std::vector<std::string>{"a/b/1", "a/b-/1", "a/b.x", "a/c", "a.x", "b/1", "b/2/1", "b/2-", "c"}));
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(walked(all[i]), std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(i), all.end()))
        << all[i];
  EXPECT_EQ(walked("a/bb"),
            (std::vector<std::string>{"a/c", "a.x", "b/1", "b/2/1", "b/2-", "c"})); // one that went away
  EXPECT_TRUE(walked("d").empty());
}

} // namespace
} // namespace conclave::code
