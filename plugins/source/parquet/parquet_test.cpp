// Tests of source/parquet: files that pyarrow wrote, read in a process that holds LibTorch too.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "table.hpp"

namespace conclave::parquet_source {
namespace {

const std::string folder = TESTDATA;

Result<std::shared_ptr<Source>> make(testkit::FakeHost& host, const Value& with) {
  return testkit::make<Source>(testkit::this_library("source/parquet"), host, with);
}

using Outcome = testkit::SourceOutcome;

Outcome read(const Value& with) {
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = make(host, with);
  if (!source.ok()) return {{}, 0, source.error().render()};
  return testkit::read_outcome(**source);
}

/// As make_testdata.py wrote them.
std::vector<RawDocument> expected(const std::string& file) {
  std::vector<RawDocument> documents;
  for (int i = 0; i < 200; ++i) {
    const std::string number = std::to_string(i);
    if (i % 20 == 10) continue;
    documents.push_back({i == 3 ? file + "#3" : "key" + number, "text " + number + " é中 " + std::string(i % 7, 'x'),
                         i == 5 ? "" : "http://x.example/" + number, std::vector{"en", "de", "zh"}[i % 3]});
  }
  return documents;
}

TEST(ParquetSource, ReadsWhatPyarrowWrote) {
  for (const std::string name : {"plain", "large", "binary", "view", "dictionary"}) {
    const auto file = name + ".parquet";
    const auto outcome = read(
        testkit::map({{"paths", folder + "/" + file}, {"id", "key"}, {"url", "meta.url"}, {"language", "language"}}));
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.skipped, 10) << name;
    EXPECT_TRUE(outcome.documents == expected(file)) << name;
  }
}

TEST(ParquetSource, IdsAreRowsOfTheFileOrIntegers) {
  auto outcome = read(testkit::map({{"paths", folder + "/plain.parquet"}}));
  ASSERT_EQ(outcome.documents.size(), 190u);
  EXPECT_EQ(outcome.documents.front(), (RawDocument{"plain.parquet#0", "text 0 é中 "}));
  EXPECT_EQ(outcome.documents.back().id, "plain.parquet#199"); // counted over row groups
  outcome = read(testkit::map({{"paths", folder + "/plain.parquet"}, {"id", "meta.number"}}));
  EXPECT_EQ(outcome.documents[2].id, "2");
  EXPECT_EQ(outcome.documents[5].id, "plain.parquet#5"); // its parent is null
}

TEST(ParquetSource, RunsOfRowGroupsAreTheFile) {
  const auto layout = read_layout(folder + "/large.parquet");
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->rows, (std::vector<std::int64_t>{60, 60, 60, 20}));
  std::int64_t row = 0;
  for (const auto& [first, last] : {std::pair{0, 1}, {1, 3}, {3, 9}}) {
    auto table = open_table(folder + "/large.parquet", first, last, {"text"});
    ASSERT_TRUE(table.ok()) << table.error().render();
    for (; (*table)->next().value(); ++row) EXPECT_EQ((*table)->row(), row);
  }
  EXPECT_EQ(row, 200);
}

TEST(ParquetSource, AnEmptyTableGivesNothing) {
  const auto outcome = read(testkit::map({{"paths", folder + "/empty.parquet"}}));
  EXPECT_EQ(outcome.error, "");
  EXPECT_TRUE(outcome.documents.empty());
}

TEST(ParquetSource, ColumnsThatCannotServeAreNamedWithThoseThatCan) {
  for (const char* column : {"body", "list", "real", "meta"}) {
    const auto outcome = read(testkit::map({{"paths", folder + "/plain.parquet"}, {"text", column}}));
    EXPECT_NE(outcome.error.find(column), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find("text, key, language, meta.url"), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find("plain.parquet"), std::string::npos) << outcome.error;
  }
}

TEST(ParquetSource, DamagedFilesAreErrorsThatNameThem) {
  std::ifstream in(folder + "/plain.parquet", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  const auto good = expected("a.parquet");
  std::mt19937 random(2);
  const testkit::TemporaryDir dir;
  int errors = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string damaged = whole;
    if (trial % 3 == 0) {
      damaged.resize(random() % whole.size());
    } else {
      const std::size_t byte = random() % whole.size();
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << random() % 8));
    }
    dir.write("a.parquet", damaged);
    const auto outcome = read(testkit::map({{"paths", dir.path()}}));
    EXPECT_TRUE(outcome.error.empty() || outcome.error.find("a.parquet") != std::string::npos) << outcome.error;
    errors += !outcome.error.empty();
    EXPECT_TRUE(trial % 3 != 0 || !outcome.error.empty()) << damaged.size();
  }
  EXPECT_GT(errors, 150); // other columns' pages are not read, and the footer has no checksum
}

TEST(ParquetSource, ADamagedSizeTakesNoMemory) {
  // A page of plain.parquet whose header says 2 GiB.
  const auto outcome = read(testkit::map({{"paths", folder + "/huge-page.parquet"}}));
  EXPECT_NE(outcome.error.find("cap exceeded"), std::string::npos) << outcome.error;
  EXPECT_NE(outcome.error.find("huge-page.parquet"), std::string::npos) << outcome.error;
}

/// Both libraries bring thread pools, allocators and static state; neither may disturb the other.
TEST(ParquetSource, ArrowAndTorchShareAProcess) {
  const at::Tensor a = at::ones({64, 64}), before = at::matmul(a, a);
  const auto outcome = read(testkit::map(
      {{"paths", folder + "/dictionary.parquet"}, {"id", "key"}, {"url", "meta.url"}, {"language", "language"}}));
  EXPECT_TRUE(outcome.documents == expected("dictionary.parquet"));
  EXPECT_TRUE(at::equal(at::matmul(a, a), before));
  try {
    at::matmul(a, at::ones({3, 3}));
    ADD_FAILURE() << "no exception";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("64x64"), std::string::npos);
  }
}

} // namespace
} // namespace conclave::parquet_source
