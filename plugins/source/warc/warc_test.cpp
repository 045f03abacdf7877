// Tests of source/warc: an archive that warcio wrote, and damage of every kind.

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "records.hpp"

namespace conclave::warc {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

using Outcome = testkit::SourceOutcome;

Outcome read(const Value& with) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = testkit::make<Source>(testkit::this_library("source/warc"), host, with);
  if (!source.ok()) return {{}, 0, source.error().render()};
  return testkit::read_outcome(**source);
}

std::string gzip(const std::string& text, int level = 6) {
  z_stream state{};
  deflateInit2(&state, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&state, text.size()) + 32, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(out.size() - state.avail_out);
  deflateEnd(&state);
  return out;
}

std::string conversion(const std::string& text, std::ptrdiff_t wrong_length = 0) {
  return "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://x.example/\r\nContent-Length: " +
         std::to_string(static_cast<std::ptrdiff_t>(text.size()) + wrong_length) + "\r\n\r\n" + text + "\r\n\r\n";
}

/// `count` records of texts that no compression makes tiny.
std::vector<std::string> some_records(int count) {
  std::mt19937 random(3);
  std::vector<std::string> records;
  for (int i = 0; i < count; ++i) {
    std::string text = "document " + std::to_string(i);
    for (int word = 0; word < 300; ++word) text += " " + std::to_string(random());
    records.push_back(conversion(text));
  }
  return records;
}

std::string joined(const std::vector<std::string>& records, bool compressed) {
  std::string all;
  for (const std::string& record : records) all += compressed ? gzip(record) : record;
  return all;
}

/// Each text that was read is exactly one that was written, in order.
std::size_t subsequence_of(const std::vector<RawDocument>& documents, const std::vector<std::string>& records) {
  std::size_t at = 0;
  for (const RawDocument& document : documents) {
    while (at < records.size() && records[at] != conversion(document.text)) ++at;
    if (at++ == records.size()) return std::string::npos;
  }
  return documents.size();
}

TEST(WarcSource, ReadsWhatWarcioWrote) {
  const std::string folder = TESTDATA;
  for (const std::string name : {"crawl.warc.gz", "crawl.warc"}) {
    const auto outcome = read(testkit::map({{"paths", folder + "/" + name}}));
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.skipped, 0);
    std::vector<std::pair<std::string, std::string>> expected, found; // (id, url), as warcio's index has them
    for (const auto& row : nlohmann::json::parse(content(folder + "/" + name + ".json"))) {
      const std::string url = row.at("url"), offset = std::to_string(row.at("offset").get<std::int64_t>());
      if (url.ends_with(".png")) continue;
      expected.emplace_back(name + (name.ends_with(".gz") ? "@" : "@0+") + offset, url);
    }
    std::map<std::string, RawDocument> by_url;
    for (const RawDocument& document : outcome.documents) {
      found.emplace_back(document.id, document.url);
      by_url[document.url] = document;
    }
    EXPECT_EQ(found, expected);
    const auto paragraphs = [](const std::string& title) {
      std::string text = title + "\n\n";
      for (int i = 0; i < 40; ++i) text += (i ? " " : "") + title + std::to_string(i);
      return text;
    };
    EXPECT_EQ(by_url["http://one.example/"].text, paragraphs("uno"));
    EXPECT_EQ(by_url["http://latin.example/"].text, paragraphs("café"));
    EXPECT_EQ(by_url["http://japan.example/"].text, paragraphs("日本"));
    EXPECT_EQ(by_url["http://two.example/"].text, paragraphs("dos"));
    EXPECT_EQ(by_url["http://plain.example/robots.txt"].text, "plain \r\n\r\nWARC text");
    EXPECT_EQ(by_url["http://wet.example/"].text, "Extracted text.\n");
    EXPECT_EQ(by_url["http://wet.example/"].language, "en");
    EXPECT_EQ(by_url["http://wet.example/zh"].language, "zh");
    EXPECT_EQ(by_url["http://one.example/"].language, "");
  }
}

TEST(WarcSource, TypesAndLimits) {
  const std::string file = std::string(TESTDATA) + "/crawl.warc.gz";
  EXPECT_EQ(read(testkit::map({{"paths", file}, {"types", testkit::list({"conversion"})}})).documents.size(), 2u);
  EXPECT_NE(read(testkit::map({{"paths", file}, {"types", testkit::list({"request"})}})).error.find("request"),
            std::string::npos);
  const testkit::TemporaryDir dir;
  dir.write("a.warc.gz", joined({conversion("short"), conversion(std::string(5000, 'x')), conversion("last")}, true));
  const auto outcome = read(testkit::map({{"paths", dir.path()}, {"max_document", 2048}}));
  ASSERT_EQ(outcome.documents.size(), 2u);
  EXPECT_EQ(outcome.documents[1].text, "last");
  EXPECT_EQ(outcome.skipped, 1);
}

TEST(WarcSource, OneMemberOfManyRecordsIsReadAsWell) {
  const testkit::TemporaryDir dir;
  const auto records = some_records(50);
  dir.write("a.warc.gz", gzip(joined(records, false)));
  const auto outcome = read(testkit::map({{"paths", dir.path()}}));
  EXPECT_EQ(outcome.documents.size(), records.size());
  EXPECT_EQ(subsequence_of(outcome.documents, records), records.size());
  EXPECT_EQ(outcome.documents[0].id, "a.warc.gz@0");
  EXPECT_EQ(outcome.documents[1].id, "a.warc.gz@0+" + std::to_string(records[0].size()));
}

TEST(WarcSource, AWrongLengthCostsOneRecord) {
  for (const bool compressed : {true, false}) {
    for (const std::ptrdiff_t wrong : {-100, -1, 1, 3, 4, 5, 200, 1'000'000}) {
      auto records = some_records(9);
      records[4] = conversion("document of a wrong length", wrong);
      if (wrong == -100) records[4] = "WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: -5\r\n\r\nx\r\n\r\n";
      const testkit::TemporaryDir dir;
      dir.write("a.warc.gz", joined(records, compressed));
      const auto outcome = read(testkit::map({{"paths", dir.path()}}));
      EXPECT_EQ(outcome.documents.size(), 8u) << wrong << compressed;
      EXPECT_EQ(subsequence_of(outcome.documents, records), 8u) << wrong << compressed;
      EXPECT_EQ(outcome.skipped, 1) << wrong << compressed;
    }
  }
}

/// A checksum guards each member: whatever bit flips, no other text comes out and only the member itself is lost.
TEST(WarcSource, AFlippedBitCostsOneRecord) {
  const testkit::TemporaryDir dir;
  const auto records = some_records(8);
  const std::string whole = joined(records, true);
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    std::string damaged = whole;
    const std::size_t byte = random() % damaged.size();
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << random() % 8));
    dir.write("a.warc.gz", damaged);
    const auto outcome = read(testkit::map({{"paths", dir.path()}}));
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(subsequence_of(outcome.documents, records), outcome.documents.size()) << byte;
    // Some bits of a gzip header mean nothing (time, system), so nothing may be lost either.
    EXPECT_GE(outcome.documents.size(), records.size() - 1) << byte;
    EXPECT_EQ(outcome.documents.size() + static_cast<std::size_t>(outcome.skipped), records.size()) << byte;
  }
}

TEST(WarcSource, ATruncatedFileLosesItsEnd) {
  const testkit::TemporaryDir dir;
  const auto records = some_records(3);
  const std::string whole = joined(records, true);
  std::vector<std::size_t> ends;
  for (std::size_t i = 0, end = 0; i < records.size(); ++i) ends.push_back(end += gzip(records[i]).size());
  for (std::size_t length = 0; length <= whole.size(); length += length < 40 ? 1 : 37) {
    dir.write("a.warc.gz", whole.substr(0, length));
    const auto outcome = read(testkit::map({{"paths", dir.path()}}));
    const auto complete =
        static_cast<std::size_t>(std::ranges::count_if(ends, [&](auto end) { return end <= length; }));
    EXPECT_EQ(outcome.documents.size(), complete) << length;
    EXPECT_EQ(outcome.skipped, length == 0 || (complete > 0 && ends[complete - 1] == length) ? 0 : 1) << length;
  }
}

TEST(WarcSource, DamageIsNamedWithItsPlace) {
  const testkit::TemporaryDir dir;
  const auto records = some_records(20);
  std::string whole = joined({records.begin(), records.begin() + 3}, true);
  const std::size_t second = gzip(records[0]).size();
  whole[second + 200] = static_cast<char>(whole[second + 200] ^ 0x55);
  dir.write("a.warc.gz", whole);
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source =
      testkit::make<Source>(testkit::this_library("source/warc"), host, testkit::map({{"paths", dir.path()}}));
  ASSERT_TRUE(testkit::read_all(**source).ok());
  ASSERT_EQ(host.logs().size(), 1u);
  EXPECT_NE(host.logs()[0].text.find("a.warc.gz: passed over what begins at byte " + std::to_string(second)),
            std::string::npos)
      << host.logs()[0].text;
}

TEST(WarcSource, BigFilesAreReadInParts) {
  const testkit::TemporaryDir dir;
  const std::string text(200'000, 'x');
  std::string all;
  std::vector<std::string> ids;
  while (all.size() < (std::size_t{140} << 20)) { // stored: quick to make
    ids.push_back("a.warc.gz@" + std::to_string(all.size()));
    all += gzip(conversion(text), Z_NO_COMPRESSION);
  }
  dir.write("a.warc.gz", all);
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source =
      testkit::make<Source>(testkit::this_library("source/warc"), host, testkit::map({{"paths", dir.path()}}));
  EXPECT_EQ((*source)->shards()->size(), 2u);
  std::vector<std::string> found;
  const auto documents = testkit::read_all(**source);
  for (const RawDocument& document : *documents) found.push_back(document.id);
  EXPECT_EQ(found, ids);
  EXPECT_TRUE(host.logs().empty());
}

} // namespace
} // namespace conclave::warc
