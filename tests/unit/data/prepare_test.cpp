// prepare() on small corpora: what ends up in the store, the counts, and the named errors.

#include "data/prepare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::bytes_filter;
using testing::bytes_of;
using testing::ByteTokenizer;
using testing::documents_of;
using testing::domain;
using testing::equal_filter;
using testing::FakeSource;
using testing::Shards;
using testing::small_request;
using testing::some_texts;
using testing::TemporaryFolder;

/// Documents of a split as text; an end token shows as "|".
std::vector<std::string> texts_of(const TokenStore& store, Split split, std::size_t domain) {
  std::vector<std::string> texts;
  for (std::int64_t i = 0; i < store.documents(split, domain); ++i) {
    const std::int64_t first = store.document_start(split, domain, i), end = store.document_start(split, domain, i + 1);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(end - first));
    store.copy(split, domain, first, end - first, ids.data());
    std::string& text = texts.emplace_back();
    for (const std::int32_t id : ids) text += id == 256 ? '|' : static_cast<char>(id);
  }
  return texts;
}

PrepareRequest one_domain(const std::filesystem::path& cache, std::vector<std::string> texts) {
  PrepareRequest request = small_request(cache);
  request.domains = {domain("web", 1, std::make_shared<FakeSource>(Shards{std::move(texts)}))};
  request.held_out = 0;
  return request;
}

std::shared_ptr<const TokenStore> prepared(const PrepareRequest& request, PrepareReport& report) {
  auto store = prepare(request, report);
  EXPECT_TRUE(store.ok()) << store.error().render();
  return store.ok() ? std::move(store).value() : nullptr;
}

TEST(Prepare, EveryTextOnceWithItsEndToken) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  request.max_tokens = 1000;
  PrepareReport report;
  const auto store = prepared(request, report);
  ASSERT_NE(store, nullptr);
  EXPECT_FALSE(report.cached);
  std::multiset<std::string> expected, found;
  for (const char* stem : {"a", "b", "c"})
    for (const std::string& text : some_texts(stem, *stem == 'a' ? 90 : *stem == 'b' ? 80 : 70))
      expected.insert(text + "|");
  for (const Split split : {Split::train, Split::held_out})
    for (const std::string& text : texts_of(*store, split, 0)) found.insert(text);
  EXPECT_EQ(found, expected);
  EXPECT_GT(store->documents(Split::held_out, 0), 5); // of 240 at 10 %
  EXPECT_LT(store->documents(Split::held_out, 0), 60);
  EXPECT_DOUBLE_EQ(store->share(0), 0.75);
  EXPECT_EQ(store->tokens(Split::train, 1), store->text_bytes(Split::train, 1) + store->documents(Split::train, 1));
  EXPECT_EQ(documents_of(report, "source", "web", ""), 240);
  EXPECT_EQ(documents_of(report, "source", "web", "unreadable-record"), 3); // one a shard, says the fake
  EXPECT_EQ(report.domains[0].train_documents + report.domains[0].held_out_documents, 240);
}

TEST(Prepare, TheResultDoesNotDependOnTheNumberOfWorkers) {
  std::map<std::string, int> digests;
  for (const int workers : {1, 2, 5}) {
    const TemporaryFolder folder;
    PrepareRequest request = small_request(folder.path());
    request.domains.push_back(
        domain("more", 1, std::make_shared<FakeSource>(Shards{some_texts("x", 3000), some_texts("a", 2000)})));
    request.filters = {bytes_filter(40), equal_filter()};
    request.tokenizer = std::make_shared<ByteTokenizer>(/*trained=*/true);
    request.tokenizer_sample_bytes = 1000;
    request.workers = workers;
    PrepareReport report;
    const auto store = prepared(request, report);
    ASSERT_NE(store, nullptr);
    ++digests[store->digest() + static_cast<const ByteTokenizer&>(*request.tokenizer).state];
  }
  EXPECT_EQ(digests.size(), 1u);
}

TEST(Prepare, CountsAddUpPerFilterAndDomain) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"abc", "abcdef", "abcdef", "abcdefgh", "abcdefghijkl", "ab\xFF"});
  request.filters = {bytes_filter(4), equal_filter()};
  request.min_tokens = 7;
  request.max_tokens = 9;
  request.too_long = 0;
  PrepareReport report;
  const auto store = prepared(request, report);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(documents_of(report, "source", "web", ""), 6);
  EXPECT_EQ(report.domains[0].repaired_documents, 1);
  EXPECT_EQ(documents_of(report, "bytes", "web", "few-bytes"), 1); // "ab" and U+FFFD are five bytes
  EXPECT_EQ(documents_of(report, "bytes", "web", ""), 5);
  EXPECT_EQ(bytes_of(report, "bytes", "web", ""), 6 + 6 + 8 + 12 + 5);
  EXPECT_EQ(documents_of(report, "equal", "web", "equal"), 1);
  EXPECT_EQ(bytes_of(report, "equal", "web", "equal"), 6);
  EXPECT_EQ(documents_of(report, "equal", "web", ""), 4);
  EXPECT_EQ(documents_of(report, "length-gate", "web", "too-short"), 2);
  EXPECT_EQ(documents_of(report, "length-gate", "web", "too-long"), 1);
  EXPECT_EQ(documents_of(report, "length-gate", "web", ""), 1);
  EXPECT_EQ(texts_of(*store, Split::train, 0), (std::vector<std::string>{"abcdefgh|"}));
}

TEST(Prepare, TheReportAsJsonHasEveryFilterAndDomainWithBytes) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"abc", "abcdef", "abcdef", "abcdefgh", "abcdefghijkl"});
  request.domains.push_back(domain("code", 1, std::make_shared<FakeSource>(Shards{{"xyzxyz", "xyz"}, {"abcdef"}})));
  request.filters = {bytes_filter(4), equal_filter()};
  request.filters[1].skips = {false, true};
  request.max_tokens = 9;
  request.too_long = 2;
  const auto pair = [](int documents, int bytes) {
    return "{\"documents\":" + std::to_string(documents) + ",\"bytes\":" + std::to_string(bytes) + "}";
  };
  const auto row = [](const std::string& filter, const std::string& domain, const std::string& kept,
                      const std::string& dropped) {
    return R"({"filter":")" + filter + R"(","domain":")" + domain + R"(","kept":)" + kept + R"(,"dropped":{)" +
           dropped + "}}";
  };
  const auto split = [](int documents, int tokens, int bytes) {
    return "{\"documents\":" + std::to_string(documents) + ",\"tokens\":" + std::to_string(tokens) +
           ",\"bytes\":" + std::to_string(bytes) + "}";
  };
  for (const std::string cached : {"false", "true"}) {
    PrepareReport report;
    ASSERT_NE(prepared(request, report), nullptr);
    std::string expected = R"({"schema":1,"cached":)" + cached + R"(,"filters":[)";
    expected += row("source", "web", pair(5, 35), R"("unreadable-record":)" + pair(1, 0)) + ",";
    expected += row("source", "code", pair(3, 15), R"("unreadable-record":)" + pair(2, 0)) + ",";
    expected += row("bytes", "web", pair(4, 32), R"("few-bytes":)" + pair(1, 3)) + ",";
    expected += row("bytes", "code", pair(2, 12), R"("few-bytes":)" + pair(1, 3)) + ",";
    expected += row("equal", "web", pair(3, 26), R"("equal":)" + pair(1, 6)) + ",";
    expected += row("equal", "code", pair(2, 12), "") + ",";
    expected += row("length-gate", "web", pair(3, 23), R"("cut":)" + pair(0, 3)) + ",";
    expected += row("length-gate", "code", pair(2, 12), "") + R"(],)";
    expected += R"("dedup":[{"filter":"equal","keys":4,"large_groups":0}],"domains":[)";
    expected += R"({"name":"web","shards":1,"repaired_documents":0,"train":)" + split(3, 25, 23) + R"(,"held_out":)" +
                split(0, 0, 0) + "},";
    expected += R"({"name":"code","shards":2,"repaired_documents":0,"train":)" + split(2, 14, 12) + R"(,"held_out":)" +
                split(0, 0, 0) + "}]}";
    std::string text = to_json(report);
    EXPECT_TRUE(text.ends_with("}\n"));
    std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
    EXPECT_EQ(text, expected);
  }
}

TEST(Prepare, TooLongTextsAreSplitOrCut) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"0123456789AB", "abcdefghij", "klmnopqrstuvw"});
  request.min_tokens = 3;
  request.max_tokens = 5;
  request.too_long = 1;
  PrepareReport report;
  auto store = prepared(request, report);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(texts_of(*store, Split::train, 0),
            (std::vector<std::string>{"01234", "56789", "abcde", "fghij|", "klmno", "pqrst", "uvw|"}));
  EXPECT_EQ(bytes_of(report, "length-gate", "web", "cut"), 2);
  EXPECT_EQ(documents_of(report, "length-gate", "web", "cut"), 0);
  EXPECT_EQ(store->text_bytes(Split::train, 0), 33);

  request.too_long = 2;
  store = prepared(request, report);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(texts_of(*store, Split::train, 0), (std::vector<std::string>{"01234", "abcde", "klmno"}));
  EXPECT_EQ(bytes_of(report, "length-gate", "web", "cut"), 7 + 5 + 8);
}

TEST(Prepare, InvalidUtf8IsRepairedOrDropped) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"good",
                                                      "b\xFF"
                                                      "d"});
  PrepareReport report;
  auto store = prepared(request, report);
  EXPECT_EQ(texts_of(*store, Split::train, 0), (std::vector<std::string>{"good|",
                                                                         "b\xEF\xBF\xBD"
                                                                         "d|"}));
  request.drop_invalid_utf8 = true;
  store = prepared(request, report);
  EXPECT_EQ(texts_of(*store, Split::train, 0), (std::vector<std::string>{"good|"}));
  EXPECT_EQ(documents_of(report, "source", "web", "invalid-utf8"), 1);
  EXPECT_EQ(bytes_of(report, "source", "web", "invalid-utf8"), 3);
}

TEST(Prepare, DuplicatesMeetAcrossDomainsOnlyWhenTheFilterSaysSo) {
  for (const bool across : {true, false}) {
    const TemporaryFolder folder;
    PrepareRequest request = small_request(folder.path());
    const auto texts = some_texts("same", 20);
    request.domains = {domain("web", 1, std::make_shared<FakeSource>(Shards{texts, texts})),
                       domain("code", 1, std::make_shared<FakeSource>(Shards{texts, some_texts("own", 5)}))};
    request.filters = {equal_filter(across)};
    PrepareReport report;
    ASSERT_NE(prepared(request, report), nullptr);
    EXPECT_EQ(documents_of(report, "equal", "web", "equal"), 20);
    EXPECT_EQ(documents_of(report, "equal", "code", "equal"), across ? 20 : 0);
  }
}

TEST(Prepare, AFilterLeavesADomainAloneThatSkipsIt) {
  for (const bool skip : {false, true}) {
    const TemporaryFolder folder;
    PrepareRequest request = small_request(folder.path());
    const auto texts = some_texts("same", 20);
    request.domains = {domain("web", 1, std::make_shared<FakeSource>(Shards{texts, texts})),
                       domain("code", 1, std::make_shared<FakeSource>(Shards{texts, some_texts("own", 20)}))};
    request.filters = {bytes_filter(50), equal_filter(/*across=*/true)};
    if (skip)
      for (auto& filter : request.filters) filter.skips = {false, true};
    PrepareReport report;
    ASSERT_NE(prepared(request, report), nullptr);
    EXPECT_GT(documents_of(report, "bytes", "web", "few-bytes"), 0);
    EXPECT_EQ(documents_of(report, "bytes", "code", "few-bytes") > 0, !skip);
    EXPECT_EQ(documents_of(report, "equal", "code", "") == 40, skip);
    // A cache that knows one answer does not give it for the other.
    request.filters[0].skips = {false, !skip};
    PrepareReport other;
    ASSERT_NE(prepared(request, other), nullptr);
    EXPECT_EQ(documents_of(other, "bytes", "code", "few-bytes") > 0, skip);
  }
}

TEST(Prepare, TheTokenizersSampleIsSpreadByShareAndLeavesHeldOutTextsAlone) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  auto tokenizer = std::make_shared<ByteTokenizer>(/*trained=*/true);
  request.tokenizer = tokenizer;
  request.tokenizer_sample_bytes = 4000;
  request.max_tokens = 1000;
  PrepareReport report;
  const auto store = prepared(request, report);
  ASSERT_NE(store, nullptr);
  std::int64_t web = 0, code = 0;
  std::string text;
  std::set<std::string> held_out;
  for (std::size_t d = 0; d < 2; ++d)
    for (const std::string& held : texts_of(*store, Split::held_out, d))
      held_out.insert(held.substr(0, held.size() - 1));
  for (const char c : tokenizer->state) {
    if (c == '[') {
      text.clear();
    } else if (c == ']') {
      (text[0] <= 'c' ? web : code) += static_cast<std::int64_t>(text.size());
      EXPECT_FALSE(held_out.contains(text)) << text;
    } else {
      text += c;
    }
  }
  EXPECT_EQ(web, 3000);
  EXPECT_EQ(code, 1000);
}

TEST(Prepare, EverySmallDomainHasAHeldOutText) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"one", "two", "three"});
  request.held_out = 0.001;
  PrepareReport report;
  const auto store = prepared(request, report);
  EXPECT_EQ(store->documents(Split::held_out, 0), 1);
  EXPECT_EQ(store->documents(Split::train, 0), 2);
}

TEST(Prepare, LargeVocabulariesTakeFourBytes) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"one", "two", "three"});
  request.tokenizer = std::make_shared<ByteTokenizer>(false, 100'000);
  PrepareReport report;
  const auto store = prepared(request, report);
  EXPECT_EQ(texts_of(*store, Split::train, 0), (std::vector<std::string>{"one|", "two|", "three|"}));
}

TEST(Prepare, EmptyInputNamesTheDomain) {
  const TemporaryFolder folder;
  PrepareReport report;
  auto made = prepare(one_domain(folder.path(), {}), report);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::invalid_argument);
  EXPECT_NE(
      made.error().what.find("'web' has no document: its source could use none of 1 record (1 unreadable-record)"),
      std::string::npos)
      << made.error().what;
  EXPECT_EQ(made.error().fix, "check what its `paths` name, and its source's options such as `text`");

  PrepareRequest request = small_request(folder.path());
  request.domains.clear();
  made = prepare(request, report);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::invalid_argument);

  request = small_request(folder.path());
  request.domains[1].source = std::make_shared<FakeSource>(Shards{});
  made = prepare(request, report);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().what.find("'code'"), std::string::npos);
}

TEST(Prepare, AnEmptiedDomainNamesTheFilterThatTookMost) {
  const TemporaryFolder folder;
  PrepareRequest request = one_domain(folder.path(), {"aaaa", "aaaa", "bb", "cc", "dd"});
  request.filters = {equal_filter(), bytes_filter(3)};
  request.min_tokens = 10;
  PrepareReport report;
  const auto made = prepare(request, report);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::invalid_argument);
  EXPECT_NE(made.error().what.find("'web' has no document left of 5 read: 'bytes' took most, 3 for 'few-bytes'"),
            std::string::npos)
      << made.error().what;
}

class ThrowingFilter final : public Filter {
 public:
  explicit ThrowingFilter(bool nan) : nan_(nan) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return {{"score", ColumnType::real, ""}}; }
  void annotate(std::span<const Document>, ColumnWriter& writer) override {
    if (!nan_) throw std::runtime_error("no such luck");
    writer.set(0, 0, std::numeric_limits<double>::quiet_NaN());
  }
  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

 private:
  bool nan_;
};

TEST(Prepare, AFilterThatThrowsOrWritesNanIsNamed) {
  for (const bool nan : {false, true}) {
    const TemporaryFolder folder;
    PrepareRequest request = small_request(folder.path());
    request.filters = {{"bad",
                        "filter/bad",
                        [=]() -> Result<std::shared_ptr<Filter>> {
                          return std::shared_ptr<Filter>(std::make_shared<ThrowingFilter>(nan));
                        },
                        "bad 1",
                        "bad 1",
                        {}}};
    PrepareReport report;
    const auto made = prepare(request, report);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().where, "filter/bad");
    EXPECT_NE(made.error().what.find(nan ? "'score'" : "no such luck"), std::string::npos) << made.error().what;
  }
}

TEST(Prepare, StopsWhenAsked) {
  const TemporaryFolder folder;
  PrepareRequest request = small_request(folder.path());
  std::stop_source stop;
  request.stop = stop.get_token();
  stop.request_stop();
  PrepareReport report;
  const auto made = prepare(request, report);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::stopped);
  request.stop = {};
  EXPECT_TRUE(prepare(request, report).ok());
}

} // namespace
} // namespace conclave::data
