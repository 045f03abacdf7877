// Tests of source/text.

#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "splitter.hpp"

namespace conclave::text {
namespace {

using Documents = std::vector<RawDocument>;

Result<std::shared_ptr<Source>> make(testkit::FakeHost& host, const Value& with) {
  return testkit::make<Source>(testkit::this_library("source/text"), host, with);
}

Documents read(const Value& with) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, with);
  if (!source.ok()) return {{"error", source.error().render()}};
  auto documents = testkit::read_all(**source);
  if (!documents.ok()) return {{"error", documents.error().render()}};
  return std::move(documents).value();
}

TEST(TextSource, OneDocumentAFileWithIdsBelowTheRoot) {
  const testkit::TemporaryDir dir;
  dir.write("b.txt", "two");
  dir.write("a/x.txt", "\xEF\xBB\xBFone\r\nline\r");
  dir.write("c.md", "not taken");
  dir.write("empty.txt", "");
  dir.write("blank.txt", " \n\t\n");
  EXPECT_EQ(read(testkit::map({{"paths", dir.path() / "**/*.txt"}})),
            (Documents{{"a/x.txt", "one\nline\r"}, {"b.txt", "two"}}));
}

TEST(TextSource, ALongFileIsCutAtBlankLinesFirst) {
  const testkit::TemporaryDir dir;
  const std::string paragraph(40, 'x');
  const std::string text = paragraph + "\n\n" + paragraph + "\nmore\n\n" + paragraph;
  dir.write("a", text);
  const auto documents = read(testkit::map({{"paths", dir.path() / "a"}, {"max_document", 100}}));
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0], (Documents::value_type{"a", paragraph + "\n\n" + paragraph + "\nmore\n\n"}));
  EXPECT_EQ(documents[1], (Documents::value_type{"a#1", paragraph}));
}

TEST(TextSource, ParagraphsAreJoinedUntilThereIsEnough) {
  const testkit::TemporaryDir dir;
  dir.write("a", "one\n\ntwo\n\n\n\nthree is longer\n\nfour");
  const auto documents =
      read(testkit::map({{"paths", dir.path() / "a"}, {"per_document", "paragraphs"}, {"paragraphs_size", 8}}));
  EXPECT_EQ(documents, (Documents{{"a#0", "one\n\ntwo\n\n\n\n"}, {"a#1", "three is longer\n\n"}, {"a#2", "four"}}));
}

/// Parts in order are the file, whatever the bytes and however they are cut.
TEST(TextSource, NothingIsLostByCutting) {
  const testkit::TemporaryDir dir;
  constexpr std::string_view alphabet = "aaa\n\n \xC3\xA4\xE2\x82\xAC\xFF\x80";
  std::uint32_t state = 5;
  for (int trial = 0; trial < 60; ++trial) {
    std::string text;
    for (int i = 0; i < 3000; ++i) {
      state = state * 1664525u + 1013904223u;
      text += alphabet[(state >> 16) % alphabet.size()];
    }
    dir.write("a", text);
    for (const char* mode : {"file", "paragraphs"}) {
      std::string joined;
      for (const auto& [id, part, url, language] : read(testkit::map(
               {{"paths", dir.path() / "a"}, {"per_document", mode}, {"paragraphs_size", 65}, {"max_document", 77}}))) {
        EXPECT_LE(part.size(), 77u);
        joined += part;
      }
      // Blank parts are left out, so white space is not compared.
      const auto dense = [](std::string s) {
        return std::erase_if(s, [](char c) { return c == ' ' || c == '\n'; }), s;
      };
      EXPECT_EQ(dense(joined), dense(text)) << mode << " " << trial;
    }
  }
}

TEST(TextSource, BinaryFilesAreSkippedAndCounted) {
  const testkit::TemporaryDir dir;
  dir.write("a", std::string("ELF\0binary", 10));
  dir.write("b", "text");
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, testkit::map({{"paths", dir.path()}}));
  ASSERT_TRUE(source.ok());
  const auto shards = (*source)->shards();
  ASSERT_TRUE(shards.ok());
  ASSERT_EQ(shards->size(), 1u);
  auto reader = (*source)->open((*shards)[0]);
  ASSERT_TRUE(reader.ok());
  RawDocument document;
  ASSERT_TRUE((*reader)->next(document).value());
  EXPECT_EQ(document.id, "b");
  EXPECT_FALSE((*reader)->next(document).value());
  EXPECT_EQ((*reader)->skipped(), 1);
}

TEST(TextSource, EncodingAndBytesThatAreNoUtf8) {
  const testkit::TemporaryDir dir;
  dir.write("a", "caf\xE9");
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}}))[0].text, "caf\xE9"); // the host's data.invalid_utf8 judges
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}, {"encoding", "windows-1252"}}))[0].text, "caf\xC3\xA9");
}

TEST(TextSource, BigFilesOfParagraphsAreReadInParts) {
  const testkit::TemporaryDir dir;
  std::string text;
  for (int i = 0; text.size() < (40u << 20); ++i)
    text += "paragraph " + std::to_string(i) + std::string(200, '.') + "\n\n";
  dir.write("a", text);
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, testkit::map({{"paths", dir.path()}, {"per_document", "paragraphs"}}));
  ASSERT_TRUE(source.ok());
  EXPECT_GE((*source)->shards()->size(), 2u);
  std::string joined;
  std::set<std::string> ids;
  const auto documents = testkit::read_all(**source);
  for (const auto& [id, part, url, language] : *documents) {
    joined += part;
    ids.insert(id);
  }
  EXPECT_TRUE(joined == text);
  EXPECT_EQ(ids.size(), documents->size());
}

TEST(TextSource, NoMatchAndUnreadableFilesAreErrors) {
  const testkit::TemporaryDir dir;
  EXPECT_NE(read(testkit::map({{"paths", dir.path() / "*.none"}}))[0].text.find("no file matches"), std::string::npos);
  const auto path = dir.write("a.gz", std::string("\x1F\x8B\x08\x00", 4) + "broken");
  const auto documents = read(testkit::map({{"paths", path}}));
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_NE(documents[0].text.find("a.gz"), std::string::npos);
}

TEST(TextSource, TouchesNothingBeforeItIsAsked) {
  testkit::FakeHost host({.phase = Phase::check});
  EXPECT_TRUE(make(host, testkit::map({{"paths", "/nowhere/*"}})).ok());
}

} // namespace
} // namespace conclave::text
