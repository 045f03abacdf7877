// Tests of source/jsonl.

#include <gtest/gtest.h>

#include <set>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave::jsonl {
namespace {

using Documents = std::vector<RawDocument>;

using Outcome = testkit::SourceOutcome;

Outcome read(const Value& with) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = testkit::make<Source>(testkit::this_library("source/jsonl"), host, with);
  if (!source.ok()) return {{}, 0, source.error().render()};
  return testkit::read_outcome(**source);
}

TEST(JsonlSource, TextAndIds) {
  const testkit::TemporaryDir dir;
  dir.write("a.jsonl",
            "{\"id\": \"x\", \"text\": \"one\\n\\u00e4\"}\r\n\n{\"id\": 7, \"text\": \"two\"}\n{\"text\": \"three\"}");
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}})).documents,
            (Documents{{"a.jsonl#1", "one\nä"}, {"a.jsonl#3", "two"}, {"a.jsonl#4", "three"}}));
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}, {"id", "id"}})).documents,
            (Documents{{"x", "one\nä"}, {"7", "two"}, {"a.jsonl#4", "three"}}));
}

TEST(JsonlSource, FieldsWithinFields) {
  const testkit::TemporaryDir dir;
  dir.write("a.jsonl", "{\"meta\": {\"id\": \"m\"}, \"body\": {\"main\": {\"text\": \"deep\"}}}\n{\"body\": 3}\n");
  const Outcome outcome = read(testkit::map({{"paths", dir.path()}, {"text", "body.main.text"}, {"id", "meta.id"}}));
  EXPECT_EQ(outcome.documents, (Documents{{"m", "deep"}}));
  EXPECT_EQ(outcome.skipped, 1);
}

TEST(JsonlSource, AddressAndLanguageAreTakenWhereTheyAreText) {
  const testkit::TemporaryDir dir;
  dir.write("a.jsonl",
            "{\"text\": \"one\", \"url\": \"http://a.example/\", \"metadata\": {\"language\": \"de\"}}\n"
            "{\"text\": \"two\", \"url\": 3, \"metadata\": null}\n");
  EXPECT_EQ(read(testkit::map({{"paths", dir.path()}, {"url", "url"}, {"language", "metadata.language"}})).documents,
            (Documents{{"a.jsonl#1", "one", "http://a.example/", "de"}, {"a.jsonl#2", "two"}}));
}

TEST(JsonlSource, MalformedLinesAreCountedAndTheRestIsRead) {
  const testkit::TemporaryDir dir;
  const std::vector<std::string> bad = {"{\"text\": \"cut",
                                        "{\"text\": \"no end\"",
                                        "{\"text\": \"x\", garbage}",
                                        "[\"text\"]",
                                        "\"text\"",
                                        "{}",
                                        "{\"text\": 3}",
                                        "{\"text\": null}",
                                        "not json",
                                        "{\"text\": \"\xFF\"}",
                                        "{\"text\": \"a\"} {\"text\": \"b\"}",
                                        "{\"text\": \"\\ud800\"}",
                                        std::string("{\"text\": \"\0\"}", 13)};
  std::string content = "{\"text\": \"first\"}\n";
  for (const auto& line : bad) content += line + "\n";
  content += "{\"text\": \"" + std::string(5000, 'x') + "\"}\n{\"text\": \"last\"}\n";
  dir.write("a.jsonl", content);
  const Outcome outcome = read(testkit::map({{"paths", dir.path()}, {"max_line", 2048}}));
  ASSERT_EQ(outcome.documents.size(), 2u);
  EXPECT_EQ(outcome.documents[0].text, "first");
  EXPECT_EQ(outcome.documents[1].text, "last");
  EXPECT_EQ(outcome.skipped, static_cast<std::int64_t>(bad.size()) + 1);
}

TEST(JsonlSource, EveryPrefixOfALineIsSurvived) {
  const testkit::TemporaryDir dir;
  const std::string line = "{\"a\": [1, 2.5e3, true, null, {\"b\": \"\\\"\\u00e4\"}], \"text\": \"x\\ty\"}";
  for (std::size_t length = 0; length < line.size(); ++length) {
    dir.write("a.jsonl", line.substr(0, length));
    EXPECT_TRUE(read(testkit::map({{"paths", dir.path()}})).documents.empty()) << length;
  }
}

TEST(JsonlSource, EmptyFilesGiveNothing) {
  const testkit::TemporaryDir dir;
  dir.write("a.jsonl", "");
  const Outcome outcome = read(testkit::map({{"paths", dir.path()}}));
  EXPECT_TRUE(outcome.documents.empty());
  EXPECT_EQ(outcome.error, "");
}

TEST(JsonlSource, BigPlainFilesAreReadInParts) {
  const testkit::TemporaryDir dir;
  std::string content;
  std::size_t count = 0;
  for (; content.size() < (140u << 20); ++count)
    content += "{\"text\": \"" + std::to_string(count) + std::string(9000, 'x') + "\"}\n";
  dir.write("a.jsonl", content);
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source =
      testkit::make<Source>(testkit::this_library("source/jsonl"), host, testkit::map({{"paths", dir.path()}}));
  EXPECT_GE((*source)->shards()->size(), 2u);
  const auto documents = testkit::read_all(**source);
  ASSERT_EQ(documents->size(), count);
  std::set<std::string> ids;
  for (std::size_t i = 0; i < count; ++i) {
    ids.insert((*documents)[i].id);
    ASSERT_TRUE((*documents)[i].text.starts_with(std::to_string(i) + "x"));
  }
  EXPECT_EQ(ids.size(), count);
}

TEST(JsonlSource, TruncatedCompressionIsAnErrorThatNamesTheFile) {
  const testkit::TemporaryDir dir;
  dir.write("a.jsonl.zst", std::string("\x28\xB5\x2F\xFD\x04\x58\x11\x00", 8));
  EXPECT_NE(read(testkit::map({{"paths", dir.path()}})).error.find("a.jsonl.zst"), std::string::npos);
}

} // namespace
} // namespace conclave::jsonl
