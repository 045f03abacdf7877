// The test kit itself, used as a plugin's test would.

#include "conclave/testkit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "conclave/testkit_data.hpp"

namespace conclave::testkit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Options {
  std::int64_t minimum = 4;
  std::vector<double> weights = {0.5};
};

/// Keeps texts of at least `minimum` bytes; equal first letters are duplicates.
class FirstLetter final : public DedupFilter {
 public:
  FirstLetter(HostContext&, const Options& options) : minimum_(options.minimum) {
    if (minimum_ == 13) throw std::invalid_argument("unlucky");
  }
  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"size", ColumnType::integer, "Bytes."}, {"letter", ColumnType::bits64, "First byte."}};
  }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i) {
      writer.set(i, 0, static_cast<std::int64_t>(documents[i].text.size()));
      writer.set_bits(i, 1, documents[i].text.empty() ? 0 : static_cast<unsigned char>(documents[i].text[0]));
    }
  }
  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    return row.integer(0) >= minimum_ ? Verdict::keep() : Verdict::drop("short");
  }
  void keys(const ColumnRow& row, std::vector<DedupKey>& out) const override {
    out.push_back({row.bits(1), static_cast<std::uint64_t>(row.integer(0))});
  }
  [[nodiscard]] bool same(std::uint64_t, std::uint64_t) const override { return true; }
  [[nodiscard]] const char* reason() const override { return "duplicate"; }
  [[nodiscard]] DedupScope scope() const override { return {}; }

 private:
  std::int64_t minimum_;
};

PluginDescriptor first_letter() {
  return describe_plugin<FirstLetter, Options>(
      {"filter/first-letter", "1.0", 1, "For the test.", "MIT"},
      OptionTableBuilder<Options>().opt("minimum", &Options::minimum).opt("weights", &Options::weights).build());
}

TEST(Testkit, BindsLiteralsAndMakesInstances) {
  FakeHost host;
  const auto bound = bind_options(first_letter().options, map({{"minimum", 2}, {"weights", list({0.25, 1})}}));
  ASSERT_TRUE(bound.ok()) << bound.diagnostics.render();
  EXPECT_EQ(bound.as<Options>().minimum, 2);
  EXPECT_THAT(bound.as<Options>().weights, ElementsAre(0.25, 1.0));
  const auto made = make<Filter>(first_letter(), host);
  ASSERT_TRUE(made.ok());
  EXPECT_THAT(verdicts(**made, {"abc", "abcd", "alpha", "beta"}), ElementsAre("short", "", "duplicate", ""));
}

TEST(Testkit, TellsErrorsApart) {
  FakeHost host;
  EXPECT_THAT(make<Filter>(first_letter(), host, map({{"minimun", 2}})).error().what, HasSubstr("minimun"));
  EXPECT_THAT(make<Filter>(first_letter(), host, map({{"minimum", 13}})).error().what, HasSubstr("unlucky"));
}

TEST(Testkit, ColumnsRefuseWhatTheHostWouldRefuse) {
  MemoryColumns columns({{"size", ColumnType::integer, ""}}, 1);
  EXPECT_THROW(columns.set(0, 0, 1.5), std::logic_error);
  EXPECT_THROW(columns.set(1, 0, std::int64_t{1}), std::logic_error);
  EXPECT_THROW(columns.set(0, 1, std::int64_t{1}), std::logic_error);
  EXPECT_THROW((void)columns.row(0).integer(0), std::logic_error);
  EXPECT_FALSE(columns.complete());
  columns.set(0, 0, std::int64_t{7});
  EXPECT_EQ(columns.row(0).integer(0), 7);
  EXPECT_TRUE(columns.complete());
}

TEST(Testkit, TheHostKeepsPhaseRules) {
  FakeHost check({.phase = Phase::check});
  EXPECT_EQ(check.scratch_dir(), "");
  check.metric("loss", "nats", 1, Reduction::mean);
  EXPECT_TRUE(check.metrics().empty());
  std::filesystem::path kept;
  {
    FakeHost train;
    kept = train.scratch_dir();
    EXPECT_TRUE(std::filesystem::is_directory(kept));
    train.metric("loss", "nats", 1, Reduction::mean);
    ASSERT_EQ(train.metrics().size(), 1u);
    train.log(LogLevel::warning, "careful");
    EXPECT_EQ(train.logs().at(0).text, "careful");
    EXPECT_FALSE(train.stop_token().stop_requested());
    train.request_stop();
    EXPECT_TRUE(train.stop_token().stop_requested());
  }
  EXPECT_FALSE(std::filesystem::exists(kept));
}

} // namespace
} // namespace conclave::testkit
