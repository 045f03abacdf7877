// Edits of texts in prepare(): where they count and where they do not.

#include <gtest/gtest.h>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::ByteTokenizer;
using testing::domain;
using testing::equal_filter;
using testing::FakeSource;
using testing::Shards;
using testing::small_request;
using testing::TemporaryFolder;

/// Puts one string in place of each other; its column counts them in the text that it is given.
class ReplaceFilter final : public EditFilter {
 public:
  ReplaceFilter(std::string what, std::string by) : what_(std::move(what)), by_(std::move(by)) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override { return {{"found", ColumnType::integer, ""}}; }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    std::string out;
    for (std::size_t i = 0; i < documents.size(); ++i) writer.set(i, 0, std::int64_t{edit(documents[i], out)});
  }
  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    return row.integer(0) == 0 && by_ == "needed" ? Verdict::drop("not-found") : Verdict::keep();
  }
  bool edit(const Document& document, std::string& out) const override {
    out = document.text;
    std::size_t found = 0;
    for (std::size_t at = out.find(what_); at != std::string::npos; at = out.find(what_, at + by_.size()), ++found)
      out.replace(at, what_.size(), by_);
    return found > 0;
  }

 private:
  std::string what_, by_;
};

FilterStage replace(const std::string& what, const std::string& by) {
  return {"replace-" + what,
          "filter/replace",
          [=]() -> Result<std::shared_ptr<Filter>> {
            return std::shared_ptr<Filter>(std::make_shared<ReplaceFilter>(what, by));
          },
          what + " by " + by,
          what + " by " + by,
          {}};
}

PrepareRequest request_of(const std::filesystem::path& cache, std::vector<std::string> texts) {
  PrepareRequest request = small_request(cache);
  request.domains = {domain("web", 1, std::make_shared<FakeSource>(Shards{std::move(texts)}))};
  request.held_out = 0;
  request.min_tokens = 1;
  request.max_tokens = 1000;
  return request;
}

/// All training tokens of a domain as text; an end token shows as "|".
std::string trained_on(const PrepareRequest& request, std::size_t which = 0) {
  PrepareReport report;
  const auto store = prepare(request, report);
  if (!store.ok()) return store.error().render();
  const std::int64_t count = (*store)->tokens(Split::train, which);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  (*store)->copy(Split::train, which, 0, count, ids.data());
  std::string text;
  for (const std::int32_t id : ids) text += id == 256 ? '|' : static_cast<char>(id);
  return text;
}

TEST(Edits, AreTrainedOnInTheOrderOfTheFilters) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"one two", "three", "two two"});
  request.filters = {replace("two", "2"), replace("2", "deux")};
  for (const int workers : {1, 3}) {
    request.workers = workers;
    EXPECT_EQ(trained_on(request), "one deux|three|deux deux|");
  }
}

TEST(Edits, AreInTheTokenizersSample) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"one two", "three"});
  request.filters = {replace("two", "2")};
  const auto tokenizer = std::make_shared<ByteTokenizer>(/*trained=*/true);
  request.tokenizer = tokenizer;
  EXPECT_EQ(trained_on(request), "one 2|three|");
  EXPECT_EQ(tokenizer->state, "[one 2][three]");
}

TEST(Edits, AreSeenByNoOtherFilter) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"one x", "one y", "one x"});
  // With the edit the first two would be equal; and the last filter still finds what the first one took away.
  request.filters = {replace("x", "y"), equal_filter(), replace("one", "needed"), replace("x", "needed")};
  EXPECT_EQ(trained_on(request), "needed y|");
}

TEST(Edits, LeaveADomainAloneThatSkipsTheFilter) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"one two"});
  request.domains.push_back(domain("more", 1, std::make_shared<FakeSource>(Shards{{"two two"}})));
  request.filters = {replace("two", "2")};
  request.filters[0].skips = {false, true};
  EXPECT_EQ(trained_on(request, 0), "one 2|");
  EXPECT_EQ(trained_on(request, 1), "two two|");
}

TEST(Edits, ArePartOfTheCachesKeys) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"one two"});
  EXPECT_EQ(trained_on(request), "one two|");
  request.filters = {replace("two", "2")};
  EXPECT_EQ(trained_on(request), "one 2|");
  request.filters = {replace("two", "zwei")};
  EXPECT_EQ(trained_on(request), "one zwei|");
}

TEST(Edits, ATextOfWhichNothingIsLeftIsTooShort) {
  const TemporaryFolder folder;
  PrepareRequest request = request_of(folder.path(), {"two", "one"});
  request.filters = {replace("two", "")};
  EXPECT_EQ(trained_on(request), "one|");
}

} // namespace
} // namespace conclave::data
