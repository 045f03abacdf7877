// Tests of source/dictd. Bodies are written plain, as gzip, and with dictzip's chunk table.

#include <gtest/gtest.h>
#include <zlib.h>

#include "body.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "index.hpp"

namespace conclave::dictd {
namespace {

using Documents = std::vector<RawDocument>;

std::string base64(std::uint64_t value) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  do {
    text.insert(text.begin(), digits[value % 64]);
    value /= 64;
  } while (value > 0);
  return text;
}

std::string deflated(std::string_view text, int window_bits, int flush) {
  z_stream state{};
  deflateInit2(&state, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() * 2 + 1000, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, flush);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

/// As dictzip(1) does: the chunk sizes in gzip's extra field, each chunk ended by a full flush.
std::string dictzip(std::string_view text, std::size_t chunk_length) {
  std::string sizes, data;
  const auto put16 = [](std::string& out, std::size_t value) {
    out.push_back(static_cast<char>(value & 0xFF));
    out.push_back(static_cast<char>(value >> 8));
  };
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += chunk_length, ++count) {
    const std::string chunk = deflated(text.substr(at, chunk_length), -15, Z_FULL_FLUSH);
    put16(sizes, chunk.size());
    data += chunk;
  }
  std::string extra = "RA";
  put16(extra, 6 + sizes.size());
  put16(extra, 1);
  put16(extra, chunk_length);
  put16(extra, count);
  extra += sizes;
  std::string file("\x1F\x8B\x08\x0C\0\0\0\0\0\x03", 10); // FEXTRA and FNAME
  put16(file, extra.size());
  file += extra + std::string("name\0", 5) + data + std::string("\x03\0", 2) + std::string(8, '\0');
  return file;
}

struct Dictionary {
  std::string index, body;
  void add(const std::string& headword, const std::string& article) {
    index += headword + "\t" + base64(body.size()) + "\t" + base64(article.size()) + "\n";
    body += article;
  }
};

Dictionary sample() {
  Dictionary dictionary;
  dictionary.add("00-database-info", "about this file\n");
  dictionary.add("00-sample-url", "http\n");
  dictionary.add("Apple", "Apple \\Ap\"ple\\, n.\n   A fruit.\n");
  dictionary.add("bee", "   An insect.\n\n");
  dictionary.index += "bees\t" + dictionary.index.substr(dictionary.index.rfind("bee\t") + 4); // the same article
  dictionary.add("cat", "CAT\nAn animal.");
  return dictionary;
}

Result<Documents> read(const testkit::TemporaryDir& dir, int entries = 1, std::int64_t* skipped = nullptr) {
  testkit::FakeHost host({.phase = Phase::prepare});
  CONCLAVE_ASSIGN(auto source,
                  testkit::make<Source>(testkit::this_library("source/dictd"), host,
                                        testkit::map({{"paths", dir.path()}, {"entries_per_document", entries}})));
  if (skipped) {
    CONCLAVE_ASSIGN(const auto shards, source->shards());
    for (const ShardInfo& shard : shards) {
      CONCLAVE_ASSIGN(auto reader, source->open(shard));
      RawDocument document;
      for (bool more = true; more;) {
        CONCLAVE_ASSIGN(more, reader->next(document));
      }
      *skipped += reader->skipped();
    }
  }
  return testkit::read_all(*source);
}

TEST(Base64, ReadsTheIndexNumbers) {
  for (const std::uint64_t value : {0ull, 1ull, 63ull, 64ull, 4095ull, 123456789ull, (1ull << 62)})
    EXPECT_EQ(parse_base64(base64(value)), static_cast<std::int64_t>(value));
  EXPECT_FALSE(parse_base64(""));
  EXPECT_FALSE(parse_base64("A=="));
  EXPECT_FALSE(parse_base64("////////////"));
}

TEST(DictdSource, ReadsPlainGzipAndDictzipBodiesAlike) {
  const Documents expected = {{"d.index#0", "Apple \\Ap\"ple\\, n.\n   A fruit."},
                              {"d.index#1", "bee\n   An insect."},
                              {"d.index#2", "CAT\nAn animal."}};
  const Dictionary dictionary = sample();
  for (const auto& [name, body] : {std::pair<std::string, std::string>{"d.dict", dictionary.body},
                                   {"d.dict.dz", deflated(dictionary.body, 15 + 16, Z_FINISH)},
                                   {"d.dict.dz", dictzip(dictionary.body, 7)},
                                   {"d.dict.dz", dictzip(dictionary.body, 50'000)}}) {
    const testkit::TemporaryDir dir;
    dir.write("d.index", dictionary.index);
    dir.write(name, body);
    const auto documents = read(dir);
    ASSERT_TRUE(documents.ok()) << documents.error().render();
    EXPECT_EQ(*documents, expected) << name << " " << body.size();
  }
}

TEST(DictdSource, JoinsConsecutiveEntries) {
  const Dictionary dictionary = sample();
  const testkit::TemporaryDir dir;
  dir.write("d.index", dictionary.index);
  dir.write("d.dict", dictionary.body);
  EXPECT_EQ(*read(dir, 2), (Documents{{"d.index#0", "Apple \\Ap\"ple\\, n.\n   A fruit.\n\nbee\n   An insect."},
                                      {"d.index#2", "CAT\nAn animal."}}));
}

TEST(DictdSource, MalformedIndexLinesAndPositionsPastTheEndAreCounted) {
  Dictionary dictionary = sample();
  for (const char* bad :
       {"no tabs", "one\tA", "word\t!!\tA", "word\tA\t", "\tA\tB", "far\tzzzzz\tB", "word\tA\tA", "\xFF\xFE"})
    dictionary.index += std::string(bad) + "\n";
  const testkit::TemporaryDir dir;
  dir.write("d.index", dictionary.index);
  dir.write("d.dict.dz", dictzip(dictionary.body, 20));
  std::int64_t skipped = 0;
  const auto documents = read(dir, 1, &skipped);
  ASSERT_TRUE(documents.ok()) << documents.error().render();
  EXPECT_EQ(documents->size(), 3u);
  EXPECT_EQ(skipped, 8);
}

TEST(DictdSource, ManyEntriesInSeveralShardsGiveTheSameDocuments) {
  Dictionary dictionary;
  for (int i = 0; i < 5000; ++i)
    dictionary.add("w" + std::to_string(i), "w" + std::to_string(i) + std::string(5000, 'x') + "\n");
  const testkit::TemporaryDir dir;
  dir.write("d.index", dictionary.index);
  dir.write("d.dict.dz", dictzip(dictionary.body, 58'315));
  const auto documents = read(dir, 3);
  ASSERT_TRUE(documents.ok());
  EXPECT_EQ(documents->size(), (5000u + 2) / 3);
  for (std::size_t i = 0; i < documents->size(); ++i) {
    EXPECT_EQ((*documents)[i].id, "d.index#" + std::to_string(3 * i));
    EXPECT_TRUE((*documents)[i].text.starts_with("w" + std::to_string(3 * i) + "x"));
  }
}

TEST(DictdSource, MissingTruncatedAndDamagedBodiesAreErrors) {
  const Dictionary dictionary = sample();
  const testkit::TemporaryDir dir;
  const auto index = dir.write("d.index", dictionary.index);
  ASSERT_FALSE(read(dir).ok());
  EXPECT_EQ(read(dir).error().where, index.string());
  const std::string whole = dictzip(dictionary.body, 20);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    dir.write("d.dict.dz", whole.substr(0, length));
    static_cast<void>(read(dir)); // an error, or articles that were whole; never a crash
  }
  std::string damaged = whole;
  for (std::size_t i = 40; i < damaged.size(); ++i) damaged[i] = '\xFF';
  dir.write("d.dict.dz", damaged);
  EXPECT_FALSE(read(dir).ok());
  dir.write("d.index", "");
  EXPECT_FALSE(read(dir).ok());
}

} // namespace
} // namespace conclave::dictd
